"""The one module that Accelerate wraps: backbone, head, log-probs and loss in one forward.

DDP and FSDP see a whole forward; calling the backbone past their wrapper would give wrong
gradients without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from anima_core.attention.segments import segment_arguments
from anima_core.model.head import backbone, head_of, unwrap

if TYPE_CHECKING:
    from anima_core.batch import Batch
    from anima_core.contracts import Loss, LossOutput, TokenLogps


class LogpsModule(torch.nn.Module):
    """Runs a batch of segments through a model, down to log-probs and the loss."""

    def __init__(self, model: Any, token_logps: TokenLogps, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self._token_logps = token_logps
        self._loss = loss

    def logps(self, batch: Batch) -> torch.Tensor:
        """Log-probs of the batch's targets, ``[S]`` float32.

        Only the hidden states that predict a supervised token reach the head.
        """
        inner = unwrap(self.model)
        output = backbone(inner)(**segment_arguments(batch))
        hidden = output.last_hidden_state[0].index_select(0, batch.sources)
        return self._token_logps(hidden, head_of(inner), batch.targets)

    def forward(
        self, batch: Batch, reference: torch.Tensor | None = None, loss: bool = True
    ) -> LossOutput | torch.Tensor:
        """The loss's output for a batch, or its log-probs alone.

        Args:
            batch: the examples.
            reference: the reference's log-probs, ``[S]`` float32, or None.
            loss: whether to apply the loss.
        """
        logps = self.logps(batch)
        if not loss:
            return logps
        return self._loss(batch, logps, reference)
