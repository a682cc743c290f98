"""The strategy ``orpo``: it answers the ``loss`` slot. Imports no torch until a run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from anima_core import Options, hookimpl

if TYPE_CHECKING:
    from anima_core import Loss, RunContext


class OrpoOptions(Options):
    """Options of the `Orpo` strategy."""

    beta: float = Field(
        default=0.1,
        gt=0,
        allow_inf_nan=False,
        description="What the odds ratio counts beside the likelihood of the chosen answers: the "
        "paper's lambda (Hong et al. 2024, eq. 6), 0.1 to 0.25 for its models.",
    )


class Orpo:
    """Fine-tune on the better answers and turn from the worse ones, in one stage."""

    api = 1
    summary = "Odds Ratio Preference Optimisation (Hong et al. 2024): SFT and preference in one"
    slots = ("loss",)
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    Options = OrpoOptions

    # Hong et al. 2024, appendix C, train whole models of up to 7B at 8e-6.
    learning_rate = 8e-6

    def __init__(self, options: OrpoOptions) -> None:
        self.options = options

    @hookimpl
    def loss(self, run: RunContext) -> Loss:  # noqa: ARG002
        """The loss with these options."""
        from anima_dpo.orpo.loss import OrpoLoss

        return OrpoLoss(self.options)
