"""As much of Accelerate as a step in one process needs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


class OneProcess:
    """Sends a loss backward, and has nobody to exchange gradients with."""

    scaler = None

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def no_sync(self, module: object) -> AbstractContextManager[None]:
        return nullcontext()
