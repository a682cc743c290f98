"""The strategy ``dpo``: it answers the ``loss`` slot. Imports no torch until a run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anima_core import hookimpl
from anima_dpo.options import DpoOptions

if TYPE_CHECKING:
    from anima_core import Loss, RunContext


class Dpo:
    """Learn from pairs of a better and a worse answer, without a reward model."""

    api = 1
    summary = "Direct Preference Optimisation (Rafailov et al. 2023)"
    slots = ("loss",)
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    Options = DpoOptions

    # Rafailov et al. 2023, appendix B, use 1e-6 with RMSprop; 5e-7 became usual with AdamW
    # (Tunstall et al. 2023, "Zephyr"). An adapter multiplies it by its own factor.
    learning_rate = 5e-7

    def __init__(self, options: DpoOptions) -> None:
        self.options = options

    @hookimpl
    def loss(self, run: RunContext) -> Loss:  # noqa: ARG002
        """The DPO loss with these options."""
        from anima_dpo.loss import DpoLoss

        return DpoLoss(beta=self.options.beta, label_smoothing=self.options.label_smoothing)
