"""The strategy ``reward``: it answers the ``loss`` slot. Imports no torch until a run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from anima_core import Options, hookimpl

if TYPE_CHECKING:
    from anima_core import Loss, RunContext


class RewardOptions(Options):
    """Options of the `Reward` strategy."""

    centering: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="What the square of the sum of a pair's rewards counts: it holds rewards about "
        "0, which pairs alone leave open (Eisenstein et al. 2023). TRL's documentation advises "
        "0.01; 0 adds nothing.",
    )


class Reward:
    """Learn to score answers, so that the better one of each pair scores higher."""

    api = 1
    summary = "A reward model (Bradley and Terry 1952; Ouyang et al. 2022): scores answers"
    slots = ("loss",)
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    Options = RewardOptions

    # Touvron et al. 2023, "Llama 2", §3.2.2: 1e-5 for all their reward models but the largest.
    learning_rate = 1e-5

    def __init__(self, options: RewardOptions) -> None:
        self.options = options

    @hookimpl
    def loss(self, run: RunContext) -> Loss:  # noqa: ARG002
        """The loss with these options."""
        from anima_dpo.reward.loss import RewardLoss

        return RewardLoss(self.options)
