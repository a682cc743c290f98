"""The one module that Accelerate wraps: backbone, head, log-probs and loss in one forward.

DDP and FSDP see a whole forward; calling the backbone past their wrapper would give wrong
gradients without a word.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from anima_core.attention.segments import segment_arguments
from anima_core.loss.collision import call_loss, log_collision
from anima_core.model.head import backbone, head_of, unwrap
from anima_core.training.handed import (
    changing_nothing,
    check_logps,
    check_output,
    check_places,
    check_wanted,
)

if TYPE_CHECKING:
    from anima_core.batch import Batch
    from anima_core.contracts import HiddenLoss, Loss, LossOutput, TokenLogps, TopkLoss

Give = Literal["loss", "handed", "logps", "targets"]
"""What a forward pass is to give: the loss's output; what the loss is called with (`Handed`); the
first of these alone; or the log-probs of the targets, ``[S]``, for any loss."""

Handed = tuple[torch.Tensor, torch.Tensor | None]
"""What a loss is called with: log-probs ``[S]`` (``[S, K]`` where it needs top-k, hidden states
``[M, H]`` where it needs those), and for one that says ``collision = True`` what `log_collision`
gives, ``[S]``."""


class LogpsModule(torch.nn.Module):
    """Runs a batch of segments through a model, down to log-probs and the loss.

    What the kernel and the loss hand over is checked once, on the first micro-batch, and that they
    replace nothing that other models share.

    Args:
        model: the adapted model.
        token_logps: the kernel.
        loss: the loss.
        head: the loss's own trained part, a submodule so that DDP exchanges its gradients too.
        kernel_name, loss_name: the strategies that they come from, for an error's words.
    """

    def __init__(
        self,
        model: Any,
        token_logps: TokenLogps,
        loss: Loss,
        *,
        head: torch.nn.Module | None = None,
        kernel_name: str = "token_logps",
        loss_name: str = "loss",
    ) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self._token_logps = token_logps
        self._loss = loss
        self._names = (kernel_name, loss_name)
        self._checked: set[bool] = set()
        self._placed = False
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
        return self._logps(batch, wanted=wanted)[0]

    def _logps(self, batch: Batch, *, wanted: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """As `logps`, and the hidden states that they come from, ``[S, H]``."""
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
        return logps, hidden

    def hidden(self, batch: Batch) -> torch.Tensor:
        """The last hidden states of the tokens that the loss names (`HiddenLoss.places`).

        Returns:
            ``[M, H]`` float32 (float64 of a model in float64), differentiable.

        Raises:
            SetupError: the loss named something else than it may.
        """
        places = cast("HiddenLoss", self._loss).places(batch)
        check_places(places, batch.tokens, self._names[1], look=not self._placed)
        self._placed = True
        hidden = last_hidden(self.model, batch).index_select(0, places)
        return hidden if hidden.dtype == torch.float64 else hidden.float()

    def forward(
        self, batch: Batch, reference: torch.Tensor | None = None, give: Give = "loss"
    ) -> LossOutput | Handed | torch.Tensor:
        """The loss's output for a batch, or what it would be called with.

        Args:
            batch: the examples.
            reference: the reference's log-probs, ``[S]`` float32, or None.
            give: what is wanted.
        """
        if give == "targets":
            return self.logps(batch, wanted=False)
        if give == "logps":
            return self._handed(batch, whole=False)[0]
        values, collision = self._handed(batch)
        if give == "handed":
            return values, collision
        return self.judge(batch, values, reference, collision)

    def _handed(self, batch: Batch, *, whole: bool = True) -> Handed:
        """What the loss is called with; unless `whole`, only what has a gradient."""
        if self._loss.needs == "hidden":
            return self.hidden(batch), None
        logps, hidden = self._logps(batch, wanted=True)
        asks = whole and getattr(self._loss, "collision", False)
        return logps, log_collision(hidden, head_of(unwrap(self.model))) if asks else None

    def judge(
        self,
        batch: Batch,
        values: torch.Tensor,
        reference: torch.Tensor | None,
        collision: torch.Tensor | None = None,
    ) -> LossOutput:
        """What the loss makes of a batch's log-probs, or of its hidden states.

        A head of its own computes in float32, whatever the model's layers are cast to.

        Args:
            batch: the examples.
            values, collision: see `Handed`.
            reference: the reference's log-probs, ``[S]`` float32, or None.

        Raises:
            SetupError: it is not what a loss must return.
        """
        if self._loss.needs != "hidden":
            return self._judge(batch, values, reference, collision)
        with torch.autocast(values.device.type, enabled=False):
            return self._judge(batch, values, reference, None)

    def _judge(
        self,
        batch: Batch,
        values: torch.Tensor,
        reference: torch.Tensor | None,
        collision: torch.Tensor | None,
    ) -> LossOutput:
        if self._judged:
            return call_loss(self._loss, batch, values, reference, collision)
        with changing_nothing(self._names[1]):
            output = call_loss(self._loss, batch, values, reference, collision)
            denominators = self._loss.denominators(batch)
        check_output(output, denominators, self._names[1])
        self._judged = True
        return output


def supervised_hidden(model: Any, batch: Batch) -> torch.Tensor:
    """The hidden states that predict a batch's targets, ``[S, H]``."""
    return last_hidden(model, batch).index_select(0, batch.sources)


def last_hidden(model: Any, batch: Batch) -> torch.Tensor:
    """The last hidden state of every token of a batch, ``[N, H]``, in the model's dtype."""
    output = backbone(unwrap(model))(**segment_arguments(batch))
    hidden: torch.Tensor = output.last_hidden_state[0]
    return hidden
