"""The strategy ``cpo``: it answers the ``loss`` slot. Imports no torch until a run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from anima_core import Options, hookimpl
from anima_dpo.idle import smoothing_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anima_core import Loss, Problem, RunContext


class CpoOptions(Options):
    """Options of the `Cpo` strategy."""

    loss: Literal["sigmoid", "hinge", "ipo"] = Field(
        default="sigmoid",
        description="What is made of a pair's two log-probs: sigmoid is the paper's, hinge and "
        "ipo those of --dpo.loss.",
    )
    beta: float = Field(
        default=0.1,
        gt=0,
        allow_inf_nan=False,
        description="What the difference of the log-probs is multiplied by, a number per nat (Xu "
        "et al. 2024, eq. 5, who use 0.1). With ipo, 1 / (2 beta) is the difference of mean "
        "log-probs that is aimed at, in nats a token.",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="Probability that a pair is labelled the wrong way round, in [0, 0.5); "
        "0 trusts every label. For sigmoid.",
    )
    nll_weight: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="Add so many times the chosen answers' mean negative log-likelihood per "
        "token, which keeps the model near the good answers; 0 leaves it out.",
    )


class Cpo:
    """Learn from pairs without a reference, held near the better answers by their likelihood."""

    api = 1
    summary = "Contrastive Preference Optimisation (Xu et al. 2024): DPO with no reference, and NLL"
    slots = ("loss",)
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    Options = CpoOptions

    # Of whole models no source has a rate: Xu et al. 2024 train LoRA alone, at 1e-4, and an adapter
    # takes ten times this.
    learning_rate = 1e-5

    def __init__(self, options: CpoOptions) -> None:
        self.options = options

    @hookimpl
    def validate(self, run: RunContext) -> Sequence[Problem]:  # noqa: ARG002
        """Refuse options that would do nothing."""
        return smoothing_problems("cpo", self.options)

    @hookimpl
    def loss(self, run: RunContext) -> Loss:  # noqa: ARG002
        """The loss with these options."""
        from anima_dpo.cpo.loss import CpoLoss

        return CpoLoss(self.options)
