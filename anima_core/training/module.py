"""The one module that Accelerate wraps: backbone, head, log-probs and loss in one forward.

DDP and FSDP see a whole forward; calling the backbone past their wrapper would give wrong
gradients without a word.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from anima_core.attention.segments import segment_arguments
from anima_core.model.head import backbone, head_of, unwrap
from anima_core.training.handed import (
    changing_nothing,
    check_logps,
    check_output,
    check_wanted,
)

if TYPE_CHECKING:
    from anima_core.batch import Batch
    from anima_core.contracts import Loss, LossOutput, TokenLogps, TopkLoss

Give = Literal["loss", "logps", "targets"]
"""What a forward pass is to give: the loss's output, the log-probs that the loss is called with
(``[S]``, or ``[S, K]`` where it needs top-k), or those of the targets, ``[S]``, for any loss."""


class LogpsModule(torch.nn.Module):
    """Runs a batch of segments through a model, down to log-probs and the loss.

    What the kernel and the loss hand over is checked once, on the first micro-batch, and that they
    replace nothing that other models share.

    Args:
        model: the adapted model.
        token_logps: the kernel.
        loss: the loss.
        kernel_name, loss_name: the strategies that they come from, for an error's words.
    """

    def __init__(
        self,
        model: Any,
        token_logps: TokenLogps,
        loss: Loss,
        *,
        kernel_name: str = "token_logps",
        loss_name: str = "loss",
    ) -> None:
        super().__init__()
        self.model = model
        self._token_logps = token_logps
        self._loss = loss
        self._names = (kernel_name, loss_name)
        self._checked: set[bool] = set()
        self._judged = False

    def logps(self, batch: Batch, *, wanted: bool = True) -> torch.Tensor:
        """Log-probs at the batch's supervised positions, float32.

        Only the hidden states that predict a supervised token reach the head.

        Args:
            batch: the examples.
            wanted: whether a loss that needs top-k is asked which tokens; else the targets.

        Returns:
            ``[S]``, or ``[S, K]`` for a loss's `wanted`.

        Raises:
            SetupError: the kernel or the loss handed over something else than it must.
        """
        asks = wanted and self._loss.needs == "topk"
        new = asks not in self._checked
        head = head_of(unwrap(self.model))
        target = batch.targets
        if asks:
            target = cast("TopkLoss", self._loss).wanted(batch)
            vocab = head.weight.shape[0] if new else None
            check_wanted(target, len(batch.targets), vocab, self._names[1])
        hidden = supervised_hidden(self.model, batch)
        with changing_nothing(self._names[0]) if new else nullcontext():
            logps = self._token_logps(hidden, head, target)
        if new:
            check_logps(logps, hidden, head, target, self._names[0])
            self._checked.add(asks)
        return logps

    def forward(
        self, batch: Batch, reference: torch.Tensor | None = None, give: Give = "loss"
    ) -> LossOutput | torch.Tensor:
        """The loss's output for a batch, or log-probs alone.

        Args:
            batch: the examples.
            reference: the reference's log-probs, ``[S]`` float32, or None.
            give: what is wanted.
        """
        logps = self.logps(batch, wanted=give != "targets")
        return self.judge(batch, logps, reference) if give == "loss" else logps

    def judge(
        self, batch: Batch, logps: torch.Tensor, reference: torch.Tensor | None
    ) -> LossOutput:
        """What the loss makes of a batch's log-probs.

        Raises:
            SetupError: it is not what a loss must return.
        """
        if self._judged:
            return self._loss(batch, logps, reference)
        with changing_nothing(self._names[1]):
            output = self._loss(batch, logps, reference)
            denominators = self._loss.denominators(batch)
        check_output(output, denominators, self._names[1])
        self._judged = True
        return output


def supervised_hidden(model: Any, batch: Batch) -> torch.Tensor:
    """The hidden states that predict a batch's targets, ``[S, H]``."""
    output = backbone(unwrap(model))(**segment_arguments(batch))
    hidden: torch.Tensor = output.last_hidden_state[0].index_select(0, batch.sources)
    return hidden
