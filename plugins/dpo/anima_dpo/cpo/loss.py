"""The loss of ``--cpo``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from anima_core import Problem
from anima_dpo.checks import length_biased
from anima_dpo.cpo.strategy import CpoOptions
from anima_dpo.facts import FACTS
from anima_dpo.losses import BY_PAIR
from anima_dpo.pairs import Knobs, Pairs
from anima_dpo.unreferenced import UnreferencedLoss
from anima_dpo.watching import Watched

if TYPE_CHECKING:
    from anima_core import DataSummary


class CpoLoss(UnreferencedLoss):
    """Contrastive Preference Optimisation (Xu et al. 2024, arXiv:2401.08417, eq. 5 and 6).

    The loss of DPO under a uniform reference, and the chosen answers' likelihood, with
    ``m = beta * (log pi(w|x) - log pi(l|x))`` and the label smoothing e::

        -(1 - e) * log sigmoid(m) - e * log sigmoid(-m)  +  a * NLL of the chosen answers

    The NLL is a mean over tokens. ``hinge`` and ``ipo`` put those losses (`anima_dpo.losses`) in
    the place of the sigmoid; ipo looks at mean log-probs.

    Args:
        options: how it is set; the defaults when None.
    """

    def __init__(self, options: CpoOptions | None = None) -> None:
        self.options = options or CpoOptions()
        watched = Watched(
            logit="margin" if FACTS[self.options.loss].logistic else None,
            sums=not FACTS[self.options.loss].per_token,
            against_fall="raise --cpo.nll-weight, or lower --learning-rate",
        )
        super().__init__("cpo", 1.0, self.options.nll_weight, watched)

    def data_problems(self, data: DataSummary) -> Sequence[Problem]:
        """Pairs that differ mostly in length, but for ipo, which looks at means over tokens."""
        if self.options.loss == "ipo":
            return []
        remedy = "or compare means over tokens with --cpo.loss ipo, or with --simpo in its place"
        return list(length_biased(data, remedy))

    def compare(self, pairs: Pairs) -> torch.Tensor:
        """Each pair's loss, ``[E]``."""
        options = self.options
        return BY_PAIR[options.loss](pairs, Knobs(options.beta, options.label_smoothing))

    def rewards(self, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
        """``beta * log pi(y|x)``, ``[E]`` each; with ipo a mean over tokens."""
        of_tokens = self.options.loss == "ipo"
        chosen = pairs.chosen_mean if of_tokens else pairs.chosen
        rejected = pairs.rejected_mean if of_tokens else pairs.rejected
        return self.options.beta * chosen, self.options.beta * rejected
