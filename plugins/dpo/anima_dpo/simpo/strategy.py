"""The strategy ``simpo``: it answers the ``loss`` slot. Imports no torch until a run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from anima_core import Options, hookimpl
from anima_dpo.idle import smoothing_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anima_core import Loss, Problem, RunContext


class SimpoOptions(Options):
    """Options of the `Simpo` strategy."""

    loss: Literal["sigmoid", "hinge"] = Field(
        default="sigmoid",
        description="What is made of a pair's margin: sigmoid is the paper's, hinge is content "
        "once the margin exceeds the target by 1.",
    )
    beta: float = Field(
        default=2.0,
        gt=0,
        allow_inf_nan=False,
        description="What an answer's mean log-prob is multiplied by to be its reward (Meng et "
        "al. 2024, eq. 4): 2 to 2.5 in the paper, and 10 is often better (its authors' code).",
    )
    gamma_beta_ratio: float = Field(
        default=0.5,
        ge=0,
        allow_inf_nan=False,
        description="The target margin gamma between the two rewards, as a share of beta (eq. 6); "
        "its authors' code advises to try 0 to 1.",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="Probability that a pair is labelled the wrong way round, in [0, 0.5); "
        "0 trusts every label. For sigmoid.",
    )
    nll_weight: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="Add so many times the chosen answers' mean negative log-likelihood per token "
        "(CPO-SimPO); 0 is plain SimPO.",
    )


class Simpo:
    """Learn from pairs by the mean log-prob of each answer, without a reference."""

    api = 1
    summary = "Simple Preference Optimisation (Meng et al. 2024): length-normalised, no reference"
    slots = ("loss",)
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    Options = SimpoOptions

    # Meng et al. 2024, appendix B, of Llama-3 8B after fine-tuning, with the beta and gamma above.
    learning_rate = 6e-7

    def __init__(self, options: SimpoOptions) -> None:
        self.options = options

    @hookimpl
    def validate(self, run: RunContext) -> Sequence[Problem]:  # noqa: ARG002
        """Refuse options that would do nothing."""
        return smoothing_problems("simpo", self.options)

    @hookimpl
    def loss(self, run: RunContext) -> Loss:  # noqa: ARG002
        """The loss with these options."""
        from anima_dpo.simpo.loss import SimpoLoss

        return SimpoLoss(self.options)
