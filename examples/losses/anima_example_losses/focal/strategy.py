"""The strategy `focal`: its options, and the hook that it answers. Imports no torch."""

from __future__ import annotations

from pydantic import Field

import anima_core


class FocalOptions(anima_core.Options):
    """Options of `focal`."""

    gamma: float = Field(
        default=2.0,
        ge=0,
        allow_inf_nan=False,
        description="How strongly tokens that the model already knows are turned down: the "
        "exponent of (1 - p). 0 is plain supervised fine-tuning.",
    )
    detach: bool = Field(
        default=False,
        description="Take the weight (1 - p)^gamma for a constant when differentiating, so that "
        "it scales each token's own gradient and does nothing else.",
    )


class Focal:
    """Supervised fine-tuning that spends itself on the tokens that the model does not know yet."""

    api = 1
    summary = "Focal loss over the answers' tokens (Lin et al. 2017)"
    slots = ("loss",)
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    Options = FocalOptions

    # The peak learning rate that full fine-tuning with this loss wants; an adapter multiplies it.
    learning_rate = 2e-5

    def __init__(self, options: FocalOptions) -> None:
        self.options = options

    @anima_core.hookimpl
    def loss(self, run: anima_core.RunContext) -> anima_core.Loss:  # noqa: ARG002
        """The loss with these options."""
        from .loss import FocalLoss

        return FocalLoss(self.options.gamma, detach=self.options.detach)
