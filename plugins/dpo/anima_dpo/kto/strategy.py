"""The strategy ``kto``: it answers the ``loss`` slot. Imports no torch until a run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from anima_core import Options, Problem, hookimpl
from anima_dpo.naming import REFERENCE, ModelName
from anima_dpo.rest import Steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anima_core import Loss, RunContext


LEAST_STEP = 8
"""Fewer examples than these are a poor estimate of how far the model has moved."""


class KtoOptions(Options):
    """Options of the `Kto` strategy."""

    loss: Literal["kto", "apo_zero_unpaired"] = Field(
        default="kto",
        description="What is minimised: kto compares each answer's reward with an estimate of how "
        "far the model has moved; apo_zero_unpaired compares it with 0, and estimates nothing. kto "
        "needs a second forward pass and runs in one process only; apo_zero_unpaired does not.",
    )
    beta: float = Field(
        default=0.1,
        gt=0,
        allow_inf_nan=False,
        description="How strongly the model is held to its reference: the beta of the implicit "
        "reward beta * log(pi / pi_ref) (Ethayarajh et al. 2024, eq. 8). Smaller lets it drift "
        "further; 0.1 is what its authors' code has.",
    )
    reference: ModelName | None = Field(default=None, min_length=1, description=REFERENCE)
    desirable_weight: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="What a good answer counts: the paper's lambda_D. Of unequal numbers of good "
        "and bad answers, weigh the fewer more; the plan says by how much.",
    )
    undesirable_weight: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="What a bad answer counts: the paper's lambda_U.",
    )


class Kto:
    """Learn from single answers, each called good or bad, without pairs."""

    api = 1
    summary = (
        "Kahneman-Tversky Optimisation (Ethayarajh et al. 2024): good and bad answers, unpaired"
    )
    slots = ("loss",)
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    Options = KtoOptions

    # One of the paper's authors advises 5e-7 to 5e-6 (huggingface/trl#2070): this is the careful
    # end. TRL's own default was the same and is 1e-6 now (#2153).
    learning_rate = 5e-7

    def __init__(self, options: KtoOptions) -> None:
        self.options = options

    @hookimpl
    def validate(self, run: RunContext) -> Sequence[Problem]:
        """Warn of steps that are too small for an estimate."""
        size = run.config.batch_size
        if self.options.loss != "kto" or size >= LEAST_STEP:
            return []
        return [
            Problem(
                "--batch-size",
                "how far the model has moved is estimated anew in each step, and "
                f"{'one example is' if size == 1 else f'{size} examples are'} a poor estimate",
                f"Raise it ({LEAST_STEP} to 128 is what KTO's authors advise), or use --kto.loss "
                "apo_zero_unpaired.",
                level="warning",
            )
        ]

    @hookimpl
    def loss(self, run: RunContext) -> Loss:
        """The loss with these options."""
        from anima_dpo.kto.loss import KtoLoss

        return KtoLoss(self.options, Steps.of(run))
