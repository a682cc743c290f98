"""The strategy `paged-adamw`: AdamW with 8-bit state that can be paged out of the GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

import anima_core
from anima_qlora.lora import adapted_shapes
from anima_qlora.options import LoraOptions

if TYPE_CHECKING:
    import torch

_HAS_8BIT = ("cpu", "cuda", "xpu")
"""Devices that bitsandbytes has a kernel for 8-bit optimizer state on."""


class PagedAdamWOptions(anima_core.Options):
    """Options of `paged-adamw`."""

    bits: Literal[8, 32] = Field(
        default=8,
        description="Bits of each element of the two moments. Tensors of fewer than 4096 "
        "elements keep 32 (Dettmers et al. 2022, 8-bit Optimizers).",
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Decay of the first moment.")
    beta2: float = Field(
        default=0.999,
        ge=0,
        lt=1,
        description="Decay of the second moment (Dettmers et al. 2023, B.2).",
    )
    eps: float = Field(default=1e-8, gt=0, description="Added to the denominator.")


class PagedAdamW:
    """AdamW by bitsandbytes; on CUDA its state moves to main memory when the GPU's runs short."""

    api: ClassVar[int] = 1
    summary: ClassVar[str] = "AdamW with paged 8-bit state (Dettmers et al. 2023)"
    slots: ClassVar[tuple[str, ...]] = ("optimizer",)
    requires: ClassVar[tuple[str, ...]] = ()
    conflicts: ClassVar[tuple[str, ...]] = ()
    hardware: ClassVar[str] = (
        "pages on CUDA, else in ordinary memory; 8-bit state on a CPU, CUDA or XPU"
    )
    Options: ClassVar[type[PagedAdamWOptions]] = PagedAdamWOptions

    def __init__(self, options: PagedAdamWOptions) -> None:
        self.options = options

    @anima_core.hookimpl
    def optimizer(
        self, run: anima_core.RunContext, groups: Sequence[dict[str, Any]]
    ) -> torch.optim.Optimizer:
        """The optimizer over the groups; paged where the device pages."""
        from anima_qlora.backend import bitsandbytes

        optim = bitsandbytes().optim
        paged = _device(run) == "cuda"
        names = {8: "AdamW8bit", 32: "AdamW32bit"}
        optimizer: torch.optim.Optimizer = getattr(
            optim, ("Paged" if paged else "") + names[self.options.bits]
        )(
            list(groups),
            lr=run.config.learning_rate or 0.0,
            betas=(self.options.beta1, self.options.beta2),
            eps=self.options.eps,
            weight_decay=0.0,
        )
        return optimizer

    @anima_core.hookimpl
    def validate(self, run: anima_core.RunContext) -> Sequence[anima_core.Problem]:
        """Say where nothing is paged, and refuse 8 bits where there is no kernel for them."""
        from anima_qlora.backend import bitsandbytes

        device, bits = _device(run), self.options.bits
        try:
            bitsandbytes()
        except anima_core.AnimaError as error:
            return [anima_core.Problem("--paged-adamw", error.what, error.fix)]
        if bits == 8 and device not in _HAS_8BIT:
            return [
                anima_core.Problem(
                    "--paged-adamw.bits",
                    f"bitsandbytes has no 8-bit optimizer for {device}",
                    "Use --paged-adamw.bits 32, or --adamw.",
                )
            ]
        if device == "cuda":
            return []
        what = (
            "bitsandbytes pages optimizer state on CUDA only; here the same "
            f"{bits}-bit optimizer runs in ordinary memory"
        )
        return [anima_core.Problem("--paged-adamw", what, level="note")]

    @anima_core.hookimpl
    def estimate_memory(
        self, run: anima_core.RunContext, shape: anima_core.MemoryShape
    ) -> Mapping[str, int]:
        """Bytes of the two moments of what `lora`, `qlora` or `full` trains."""
        from anima_qlora.memory import adapter_sizes, optimizer_bytes

        lora = next((o for o in run.strategies.values() if isinstance(o, LoraOptions)), None)
        if lora is not None:
            sizes = adapter_sizes(lora, adapted_shapes(lora, run, shape))
        elif "full" in run.strategies:
            linear = [out * inner for out, inner in shape.linear_shapes]
            sizes = [*linear, shape.parameters - sum(linear)]
        else:  # another plugin's adapter, whose size it alone knows
            return {}
        return {"optimizer": optimizer_bytes(sizes, self.options.bits)}

    @anima_core.hookimpl
    def diagnose(self) -> Sequence[anima_core.Finding]:
        """Whether bitsandbytes is there, which, and where its kernels run."""
        from anima_qlora.backend import diagnose_bitsandbytes

        return diagnose_bitsandbytes()


def _device(run: anima_core.RunContext) -> str:
    return run.device.split(":")[0]
