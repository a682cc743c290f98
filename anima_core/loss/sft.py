"""Supervised fine-tuning: the mean negative log-likelihood of the supervised tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import anima_core
from anima_core.contracts import LossOutput

if TYPE_CHECKING:
    import torch

    from anima_core.batch import Batch
    from anima_core.context import RunContext


class Sft:
    """The default loss."""

    api = 1
    summary = "Supervised fine-tuning: mean negative log-likelihood of the answers' tokens"
    slots = ("loss",)
    requires = ()
    conflicts = ()
    learning_rate = 2e-5
    Options = anima_core.NoOptions

    def __init__(self, options: anima_core.Options) -> None:
        self.options = options

    @anima_core.hookimpl
    def loss(self, run: RunContext) -> SftLoss:  # noqa: ARG002
        """The loss of this run."""
        return SftLoss()


class SftLoss:
    """``sum of w * -log p(token) / sum of w`` over the supervised tokens of a step.

    w is the weight of the token: its example's times its message's. The mean is over the whole
    optimizer step, so that neither micro-batches nor ranks change what a token counts.
    """

    data: Literal["completion"] = "completion"
    scope: Literal["example"] = "example"
    needs: Literal["logps"] = "logps"
    uses_reference = False
    weighs_tokens = True

    def denominators(self, batch: Batch) -> dict[str, float]:
        """The weighted number of supervised tokens."""
        return {"nll": float(batch.target_weights.double().sum())}

    def __call__(
        self,
        batch: Batch,
        logps: torch.Tensor,
        reference: torch.Tensor | None = None,  # noqa: ARG002
    ) -> LossOutput:
        """The weighted sum of negative log-probs; logps ``[S]`` float32."""
        return LossOutput({"nll": -(batch.target_weights.to(logps.dtype) * logps).sum()})
