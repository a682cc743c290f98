"""The strategy ``flash-attention-2``: the fastest flash kernel this machine has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

import anima_core

if TYPE_CHECKING:
    from anima_core import Attention, Finding, Problem, RunContext
    from anima_longctx.flash_choice import Choice

NAME = "anima_fa2"


class FlashAttention2Options(anima_core.Options):
    """Options of ``flash-attention-2``."""

    fallback: Literal["torch", "error"] = Field(
        default="torch",
        description="Where FlashAttention-2 cannot run: PyTorch's own flash kernel, or refuse.",
    )


class FlashAttention2:
    """Answers ``attention`` with flash-attn, the same kernel from the hub, or PyTorch's own."""

    api: ClassVar[int] = 1
    summary: ClassVar[str] = "FlashAttention-2 (Dao 2023) over segments; PyTorch's flash elsewhere"
    slots: ClassVar[tuple[str, ...]] = ("attention",)
    requires: ClassVar[tuple[str, ...]] = ()
    conflicts: ClassVar[tuple[str, ...]] = ()
    hardware: ClassVar[str] = (
        "CUDA (compute capability 8.0 or later) in 16 bits, else PyTorch's own flash kernel"
    )
    Options = FlashAttention2Options

    def __init__(self, options: FlashAttention2Options) -> None:
        self.options = options

    @anima_core.hookimpl
    def attention(self, run: RunContext) -> Attention:
        """Register the chosen kernel and say which it is and what it can do."""
        from anima_core import register_segment_attention

        choice = _choice(run)
        name = f"{NAME}_{'torch' if choice.varlen is None else 'varlen'}"
        if choice.varlen is None:
            from anima_longctx.torch_flash import torch_flash

            register_segment_attention(name, torch_flash(run.device))
            return anima_core.Attention(name, note=choice.note)
        from anima_longctx.flash_choice import DTYPES
        from anima_longctx.varlen import VarlenAttention

        register_segment_attention(name, VarlenAttention(choice.varlen, run.torch_dtype))
        return anima_core.Attention(name, dtypes=DTYPES, note=choice.note)

    @anima_core.hookimpl
    def validate(self, run: RunContext) -> Sequence[Problem]:
        """With ``fallback error``, refuse a run that would not get FlashAttention-2."""
        if self.options.fallback == "torch":
            return []
        choice = _choice(run)
        if choice.varlen is not None:
            return []
        where = "--flash-attention-2.fallback"
        return [anima_core.Problem(where, f"no FlashAttention-2: {choice.why}", choice.fix)]

    @anima_core.hookimpl
    def diagnose(self) -> Sequence[Finding]:
        """Which kernel a bfloat16 run gets on this machine, and why."""
        import torch

        from anima_longctx.flash_choice import choose

        if not torch.cuda.is_available():
            choice = choose("cpu", "bfloat16")
            return [anima_core.Finding("ok", choice.note)]
        choice = choose("cuda", "bfloat16", trust_remote_code=True, download=False)
        level: Literal["ok", "warning"] = "ok" if choice.kernel != "torch" else "warning"
        return [anima_core.Finding(level, choice.note, choice.fix)]


def _choice(run: RunContext) -> Choice:
    from anima_longctx.flash_choice import choose, odd_heads

    return choose(
        run.device,
        run.dtype,
        odd_heads=odd_heads(run.model_config),
        trust_remote_code=run.config.trust_remote_code,
    )
