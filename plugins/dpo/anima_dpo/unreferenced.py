"""What the losses of pairs share that look at the model alone: no reference is asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from anima_core import Batch, Loss, LossOutput
from anima_dpo.losses.likelihood import sft, sft_denominator
from anima_dpo.metrics import Means, logp_means, reward_means
from anima_dpo.options import DpoOptions
from anima_dpo.pairs import Pairs, pairs_of
from anima_dpo.tokens import lengths
from anima_dpo.watching import Watched, pair_warnings


class UnreferencedLoss(Loss):
    """A loss of each pair by itself, and the chosen answers' negative log-likelihood beside it.

    The pairs are those of `DpoLoss` under a reference that finds everything equally likely: their
    scores are log-probs.

    Args:
        name: of the total that is a mean over pairs; the other is ``nll``, a mean over tokens.
        weight: what the mean over pairs is multiplied by.
        nll_weight: what the negative log-likelihood is multiplied by; 0 leaves it out.
        watched: how its metrics are to be read.
    """

    data = "preference"
    needs = "logps"
    scope: Literal["example", "step"] = "example"
    uses_reference = False
    headline = ("accuracy", "margin")

    def __init__(self, name: str, weight: float, nll_weight: float, watched: Watched) -> None:
        self._name = name
        self._watched = watched
        self._weight = weight
        self._nll_weight = nll_weight

    @abstractmethod
    def compare(self, pairs: Pairs) -> torch.Tensor:
        """Each pair's loss, ``[E]``."""

    @abstractmethod
    def rewards(self, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
        """The rewards of the chosen and of the rejected answers, ``[E]`` each."""

    def watched(self, pairs: Pairs) -> Means:  # noqa: ARG002
        """What else is reported of the pairs: nothing."""
        return {}

    def warnings(self, history: Sequence[Mapping[str, float]]) -> Sequence[str]:
        """What the metrics warn of; see `anima_dpo.watching`."""
        return pair_warnings(history, self._watched)

    def denominators(self, batch: Batch) -> dict[str, float]:
        """A mean over pairs is divided by their weights, ``nll`` by the chosen tokens'.

        Raises:
            DataError: an example has no supervised token in one of its answers.
        """
        lengths(batch, self._name)
        below = {self._name: float(batch.weights.double().sum())}
        if self._nll_weight:
            below["nll"] = sft_denominator(batch)
        return below

    def __call__(
        self,
        batch: Batch,
        logps: torch.Tensor,
        reference: torch.Tensor | None = None,  # noqa: ARG002
    ) -> LossOutput:
        """The weighted sums over pairs and over chosen tokens.

        Args:
            batch: preference pairs: each example has chosen and rejected tokens as targets.
            logps: log-probs of ``batch.targets``, ``[S]``, differentiable.
            reference: not looked at.

        Returns:
            The totals, and metrics that are plain means over pairs, ``nll`` over chosen tokens:
            all in nats, rewards as the paper has them.

        Raises:
            DataError: an example has no supervised token in one of its answers.
        """
        nowhere = torch.zeros_like(logps)
        pairs = pairs_of(batch, logps, nowhere, lengths(batch, self._name), DpoOptions())
        losses = batch.weights.to(logps.dtype) * self.compare(pairs)
        nll = sft(batch, logps)
        totals = {self._name: self._weight * losses.sum()}
        if self._nll_weight:
            totals["nll"] = self._nll_weight * nll
        metrics = reward_means(*self.rewards(pairs)) | logp_means(batch, logps)
        metrics |= {"nll": (nll.detach(), sft_denominator(batch))}
        return LossOutput(totals, metrics | self.watched(pairs))
