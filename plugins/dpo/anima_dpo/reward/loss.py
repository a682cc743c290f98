"""The loss of ``--reward``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn.functional import logsigmoid

from anima_core import AnimaError, Batch, DataError, HiddenLoss, LossOutput, Problem, Role
from anima_dpo.checks import length_biased
from anima_dpo.metrics import reward_means
from anima_dpo.reward.head import RewardHead
from anima_dpo.reward.strategy import RewardOptions
from anima_dpo.watching import Watched, pair_warnings

if TYPE_CHECKING:
    from anima_core import DataSummary


class RewardLoss(HiddenLoss):
    """The Bradley-Terry model of which answer is preferred.

    With r(y) = w . h(y), h(y) the last hidden state of the answer's last token (Ouyang et al.
    2022, arXiv:2203.02155, eq. 1; Bradley and Terry 1952)::

        mean over pairs of -log sigmoid(r(w) - r(l) - m) + c * (r(w) + r(l))^2

    m is the pair's margin, by how much the data says that w is the better one (Touvron et al.
    2023, arXiv:2307.09288, §3.2.2, eq. 2); c centers the rewards, whose sum the first term leaves
    open (Eisenstein et al. 2023, arXiv:2312.09244, §2.1).

    Args:
        options: how it is set; the defaults when None.
    """

    data = "preference"
    needs = "hidden"
    scope: Literal["example", "step"] = "example"
    uses_reference = False
    reads_margins = True
    headline = ("accuracy", "margin")

    def __init__(self, options: RewardOptions | None = None) -> None:
        self.options = options or RewardOptions()
        self._head: RewardHead | None = None

    def head(self, hidden_size: int) -> torch.nn.Module:
        """The trained part beside the model: w."""
        self._head = RewardHead(hidden_size)
        return self._head

    def places(self, batch: Batch) -> torch.Tensor:
        """The last token of each answer, ``[2 E]`` int64.

        Raises:
            DataError: an example has not one chosen and one rejected answer.
        """
        answers = _ends(batch)
        counts = torch.bincount(2 * batch.example[answers] + _worse(batch, answers))
        if len(answers) != 2 * batch.examples or bool((counts != 1).any()):
            raise DataError(
                "an example has not one chosen and one rejected answer",
                where="reward",
                fix="Give records with a prompt, a chosen and a rejected answer.",
            )
        return answers

    def denominators(self, batch: Batch) -> dict[str, float]:
        """A mean over pairs is divided by their weights."""
        return {"reward": float(batch.weights.double().sum())}

    def data_problems(self, data: DataSummary) -> Sequence[Problem]:
        """Pairs that differ mostly in length, which is the easiest thing to score by."""
        return list(length_biased(data))

    def warnings(self, history: Sequence[Mapping[str, float]]) -> Sequence[str]:
        """What the metrics warn of; see `anima_dpo.watching`."""
        return pair_warnings(history, Watched())

    def __call__(
        self,
        batch: Batch,
        hidden: torch.Tensor,
        reference: torch.Tensor | None = None,  # noqa: ARG002
    ) -> LossOutput:
        """The weighted sum over pairs.

        Args:
            batch: preference pairs.
            hidden: the states of the answers' last tokens, ``[2 E, H]``, differentiable.
            reference: not looked at.

        Returns:
            The total ``reward``, and metrics that are plain means over pairs: rewards, their
            margin, and accuracy, the share of pairs whose chosen answer scores higher, where a
            tie counts half.

        Raises:
            AnimaError: `head` was not called before.
        """
        if self._head is None:
            raise AnimaError("the reward model's head was not made", where="reward")
        places = _ends(batch)  # as `places` had them, whose check is not made again
        at = 2 * batch.example[places] + _worse(batch, places)
        rewards = self._head(hidden)
        both = torch.zeros_like(rewards).index_copy(0, at, rewards).view(-1, 2)
        chosen, rejected = both.unbind(dim=1)
        margins, weights = (c.to(rewards.dtype) for c in (batch.margins, batch.weights))
        losses = -logsigmoid(chosen - rejected - margins)
        if self.options.centering:
            losses = losses + self.options.centering * (chosen + rejected) ** 2
        return LossOutput({"reward": (weights * losses).sum()}, reward_means(chosen, rejected))


def _ends(batch: Batch) -> torch.Tensor:
    """The last token of each segment that is no prompt, int64."""
    ends = [segment.stop - 1 for segment in batch.layout]
    last = torch.tensor(ends, device=batch.ids.device)
    return last[batch.role[last] != int(Role.PROMPT)]


def _worse(batch: Batch, places: torch.Tensor) -> torch.Tensor:
    """1 for a token of a rejected answer, else 0, int64."""
    return (batch.role[places] == int(Role.REJECTED)).long()
