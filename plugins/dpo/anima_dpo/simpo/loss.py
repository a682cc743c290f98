"""The loss of ``--simpo``."""

from __future__ import annotations

import torch

from anima_dpo.losses.logistic import smoothed
from anima_dpo.pairs import Pairs
from anima_dpo.simpo.strategy import SimpoOptions
from anima_dpo.unreferenced import UnreferencedLoss
from anima_dpo.watching import Watched


class SimpoLoss(UnreferencedLoss):
    """Simple Preference Optimisation (Meng et al. 2024, arXiv:2405.14734, eq. 4 to 6).

    The reward of an answer is its mean log-prob, and that of the chosen one is to be larger by
    the target margin gamma::

        r(y) = beta * log pi(y|x) / |y|         m = r(w) - r(l) - gamma
        sigmoid: -(1 - e) * log sigmoid(m) - e * log sigmoid(-m)        hinge: max(0, 1 - m)

    With the chosen answers' negative log-likelihood per token beside it, it is CPO-SimPO.

    Args:
        options: how it is set; the defaults when None.
    """

    def __init__(self, options: SimpoOptions | None = None) -> None:
        self.options = options or SimpoOptions()
        self._gamma = self.options.beta * self.options.gamma_beta_ratio
        watched = Watched(
            logit="margin" if self.options.loss == "sigmoid" else None,
            gamma=self._gamma,
            against_fall="raise --simpo.nll-weight, or lower --learning-rate",
        )
        super().__init__("simpo", 1.0, self.options.nll_weight, watched)

    def compare(self, pairs: Pairs) -> torch.Tensor:
        """Each pair's loss, ``[E]``."""
        chosen, rejected = self.rewards(pairs)
        margin = chosen - rejected - self._gamma
        if self.options.loss == "hinge":
            return torch.relu(1 - margin)
        return smoothed(margin, self.options.label_smoothing)

    def rewards(self, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
        """``r(w)`` and ``r(l)``, ``[E]`` each."""
        return self.options.beta * pairs.chosen_mean, self.options.beta * pairs.rejected_mean
