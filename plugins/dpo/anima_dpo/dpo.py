"""The strategy ``dpo``: it answers the ``loss`` slot. Imports no torch until a run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anima_core import hookimpl
from anima_dpo.checks import lonely, problems
from anima_dpo.options import DpoOptions
from anima_dpo.rest import Steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anima_core import Loss, Problem, RunContext


class Dpo:
    """Learn from pairs of a better and a worse answer, without a reward model."""

    api = 1
    summary = "Direct Preference Optimisation (Rafailov et al. 2023) and its family of losses"
    slots = ("loss",)
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    Options = DpoOptions

    # Rafailov et al. 2023, appendix B, use 1e-6 with RMSprop; Tunstall et al. 2023, "Zephyr", 5e-7
    # with AdamW. An adapter multiplies it by its own factor.
    learning_rate = 5e-7

    def __init__(self, options: DpoOptions) -> None:
        self.options = options

    @hookimpl
    def validate(self, run: RunContext) -> Sequence[Problem]:
        """Refuse options that contradict each other or would do nothing."""
        return [*problems(self.options), *lonely(self.options, run.config.batch_size)]

    @hookimpl
    def loss(self, run: RunContext) -> Loss:
        """The loss with these options."""
        from anima_dpo.loss import make_loss

        return make_loss(self.options, Steps.of(run))
