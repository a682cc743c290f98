"""The loss of ``--kto``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from anima_core import AnimaError, Batch, DataError, Loss, LossOutput, Problem, Role
from anima_dpo.kto.balance import balance_problems
from anima_dpo.kto.sides import accuracy
from anima_dpo.kto.strategy import LEAST_STEP, KtoOptions
from anima_dpo.metrics import Means
from anima_dpo.rest import Steps, small_rest
from anima_dpo.watching import Watched, fall_warnings

if TYPE_CHECKING:
    from anima_core import DataSummary


class KtoLoss(Loss):
    """Kahneman-Tversky Optimisation (Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7 and 8).

    With ``s(y) = log pi(y|x) - log pi_ref(y|x)``, sums over the answer's tokens, the mean over
    examples of::

        lambda_D * (1 - sigmoid(beta * (s(y) - z0)))    of a good answer
        lambda_U * (1 - sigmoid(beta * (z0 - s(y))))    of a bad one

    z0 estimates how far the model is from its reference, ``KL(pi(y'|x) || pi_ref(y'|x))``: the
    mean of s over answers y' that belong to other prompts, at least 0, and without a gradient
    (§4.1). Here it is taken over a whole optimizer step.

    Which y' goes with which x is fixed by the data's order. The authors' code (HALOs), and TRL
    after it, rotate the answers within each batch instead, so that the y' of a batch are its y in
    another order (huggingface/trl#1402); here the y' of a step are other answers than its y. What
    it buys: the reference's log-probs of y' are cached with the others, and z0 is of the same pairs
    (x, y') whatever the size of a step, and in every epoch.

    ``apo_zero_unpaired`` (D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7, by single answers)
    has 0 in the place of z0.

    Args:
        options: how it is set; the defaults when None.
        steps: how the run goes through its data, to warn of; nothing is said of it when None.
    """

    data = "unpaired"
    needs = "logps"
    uses_reference = True
    scope: Literal["example", "step"] = "step"
    headline: tuple[str, ...] = ("accuracy", "margin", "kl")
    differences: ClassVar[Mapping[str, tuple[str, str]]] = {
        "margin": ("rewards_chosen", "rewards_rejected")
    }

    def __init__(self, options: KtoOptions | None = None, steps: Steps | None = None) -> None:
        self.options = options or KtoOptions()
        self._steps = steps
        self.reference_model: str | None = self.options.reference
        self.mismatched = self.options.loss == "kto"
        self.scope = "step" if self.mismatched else "example"
        self.headline = ("accuracy", "margin", *(["kl"] if self.mismatched else []))

    def data_problems(self, data: DataSummary) -> Sequence[Problem]:
        """Answers of one kind only, or many more of one kind than of the other; a small rest."""
        found = list(balance_problems(self.options, data))
        if self.mismatched and self._steps and self._steps.size >= LEAST_STEP:
            why = "how far the model has moved is estimated anew in each step"
            found += small_rest(data.examples, self._steps, why, LEAST_STEP)
        return found

    def warnings(self, history: Sequence[Mapping[str, float]]) -> Sequence[str]:
        """What the metrics warn of; see `anima_dpo.watching`."""
        watched = Watched(
            nat=self.options.beta,
            answers="good and bad answers",
            against_fall="raise --kto.beta or --kto.desirable-weight, or lower --learning-rate",
        )
        return fall_warnings(history, watched)

    def denominators(self, batch: Batch) -> dict[str, float]:
        """The sum of the examples' weights.

        Raises:
            DataError: an example's answer has no supervised token.
        """
        _good(batch)
        return {"kto": float(batch.weights.double().sum())}

    def __call__(
        self, batch: Batch, logps: torch.Tensor, reference: torch.Tensor | None = None
    ) -> LossOutput:
        """The weighted sum over examples.

        Args:
            batch: unpaired answers: of each example one answer, and, for kto, another's.
            logps: log-probs of ``batch.targets``, ``[S]``, differentiable.
            reference: the same under the reference, ``[S]``.

        Returns:
            The total ``kto``, and metrics that are plain means over the good and over the bad
            examples: rewards in units of beta times nats, whose difference is the ``margin`` of
            the step, and log-probs in nats an answer; ``accuracy``, the share of all examples
            whose s is on its side of z0, above it for a good answer; and ``kl`` (z0) in nats,
            where there is an answer to estimate it from.

        Raises:
            AnimaError: `reference` is missing or of another shape.
            DataError: an example's answer has no supervised token.
        """
        if reference is None or reference.shape != logps.shape:
            raise AnimaError("the reference log-probs do not fit the targets", where="kto")
        good = _good(batch)
        gain = logps - reference.to(logps.dtype)
        scores = batch.per_example(gain, Role.CHOSEN) + batch.per_example(gain, Role.REJECTED)
        moved, estimated = logps.new_zeros(()), False
        if self.mismatched:
            moved, estimated = self._moved(batch, gain)
        # 1 - sigmoid(x) = sigmoid(-x)
        distance = torch.where(good, moved - scores, scores - moved)
        options = self.options
        kinds = logps.new_tensor([options.undesirable_weight, options.desirable_weight])
        weights = kinds[good.long()] * batch.weights.to(logps.dtype)
        total = (weights * torch.sigmoid(options.beta * distance)).sum()
        spoken = logps.detach()
        said = batch.per_example(spoken, Role.CHOSEN) + batch.per_example(spoken, Role.REJECTED)
        metrics = _by_kind("rewards", options.beta * scores.detach(), good)
        metrics |= _by_kind("logps", said, good) | accuracy(batch, distance)
        if estimated:
            metrics |= {"kl": (moved, 1.0)}
        return LossOutput({"kto": total}, metrics)

    def _moved(self, batch: Batch, gain: torch.Tensor) -> tuple[torch.Tensor, bool]:
        """z0, a scalar, and whether there was an answer to estimate it from; else it is 0."""
        gain = gain.detach()
        has = batch.per_example(torch.ones_like(gain), Role.MISMATCHED) > 0
        weights = batch.weights.to(gain.dtype) * has
        mean = (weights * batch.per_example(gain, Role.MISMATCHED)).sum()
        z0 = (mean / weights.sum().clamp_min(torch.finfo(gain.dtype).tiny)).clamp_min(0)
        return z0, bool(has.any())


def _good(batch: Batch) -> torch.Tensor:
    """Whether each example's answer is a good one, ``[E]`` bool."""
    ones = torch.ones_like(batch.targets)
    good, bad = (batch.per_example(ones, role) for role in (Role.CHOSEN, Role.REJECTED))
    empty = ((good == 0) & (bad == 0)).nonzero().flatten().tolist()
    if empty:
        rows = ", ".join(str(batch.rows[index] + 1) for index in empty[:5])
        raise DataError(
            f"no token of the answer is a target in example {rows}",
            where="kto",
            fix="Give every example an answer that fits --max-length.",
        )
    return good > 0


def _by_kind(name: str, values: torch.Tensor, good: torch.Tensor) -> Means:
    """The mean over good answers and that over bad ones."""
    kinds = {"chosen": good, "rejected": ~good}
    return {
        f"{name}_{kind}": (values[which].sum(), float(which.sum())) for kind, which in kinds.items()
    }
