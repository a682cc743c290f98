"""The core's optimizer: PyTorch's AdamW."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

import anima_core

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from anima_core.context import RunContext
    from anima_core.contracts import MemoryShape


class AdamWOptions(anima_core.Options):
    """Options of `adamw`."""

    beta1: float = Field(default=0.9, ge=0, lt=1, description="Decay of the first moment.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="Decay of the second moment.")
    eps: float = Field(default=1e-8, gt=0, description="Added to the denominator.")


class AdamW:
    """AdamW (Loshchilov & Hutter 2019), fused where PyTorch has it."""

    api = 1
    summary = "AdamW by PyTorch, with a fused step"
    slots = ("optimizer",)
    requires = ()
    conflicts = ()
    hardware = "any; one fused step on a CPU and on CUDA"
    Options = AdamWOptions

    def __init__(self, options: AdamWOptions) -> None:
        self.options = options

    @anima_core.hookimpl
    def optimizer(self, run: RunContext, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimizer over the groups."""
        import torch

        return torch.optim.AdamW(
            list(groups),
            lr=run.config.learning_rate or 0.0,
            betas=(self.options.beta1, self.options.beta2),
            eps=self.options.eps,
            fused=run.device.split(":")[0] in ("cpu", "cuda"),
        )

    @anima_core.hookimpl
    def estimate_memory(
        self,
        run: RunContext,  # noqa: ARG002
        shape: MemoryShape,
    ) -> Mapping[str, int]:
        """Two float32 moments a trainable parameter."""
        return {"optimizer": shape.trainable * 8}
