"""The strategy `distill`: its options, and the hooks that it answers. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field, field_validator

import anima_core


class DistillOptions(anima_core.Options):
    """Options of `distill`."""

    teacher: str = Field(
        min_length=1,
        description="The model to learn from: a folder, a run directory, a hub id, a .gguf file "
        "or demo. It must have the trained model's tokenizer.",
    )
    k: int = Field(
        default=32,
        ge=1,
        description="How many of the teacher's likeliest tokens are compared one by one at every "
        "target's place; all others are compared as one.",
    )
    alpha: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Weight of the divergence from the teacher; the data's own negative "
        "log-likelihood has 1 - alpha.",
    )
    chunk_tokens: int = Field(
        default=256,
        ge=1,
        description="Targets at whose places the teacher's logits are in memory at once.",
    )

    @field_validator("teacher")
    @classmethod
    def _whole_path(cls, teacher: str) -> str:
        """A path that exists is kept whole, so that a run's config.yaml works from anywhere."""
        path = Path(teacher).expanduser()
        return str(path.absolute()) if teacher != "demo" and path.exists() else teacher


class Distill:
    """Supervised fine-tuning that also follows a teacher model's distribution over tokens."""

    api = 1
    summary = "Distillation from a teacher's likeliest tokens (Hinton et al. 2015)"
    slots = ("loss",)
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    Options = DistillOptions

    # The peak learning rate that full fine-tuning with this loss wants; an adapter multiplies it.
    learning_rate = 2e-5

    def __init__(self, options: DistillOptions) -> None:
        self.options = options

    @anima_core.hookimpl
    def validate(self, run: anima_core.RunContext) -> Sequence[anima_core.Problem]:
        """Refuse a teacher of another vocabulary before any weight is read."""
        teacher, where = self.options.teacher, "--distill.teacher"
        return [
            *anima_core.check_same_vocabulary(run, teacher, where=where),
            *anima_core.check_window(run, teacher, where=where),
        ]

    @anima_core.hookimpl
    def loss(self, run: anima_core.RunContext) -> anima_core.TopkLoss:
        """The loss with these options. The teacher is loaded at the first batch, not for a plan."""
        from .loss import DistillLoss
        from .teacher import Teacher

        options = self.options
        teacher = Teacher(run, options.teacher, options.k, options.chunk_tokens)
        return DistillLoss(teacher, options.alpha)

    @anima_core.hookimpl
    def estimate_memory(
        self, run: anima_core.RunContext, shape: anima_core.MemoryShape
    ) -> Mapping[str, int]:
        """The teacher's weights, and one chunk of its logits in float32."""
        chunk = min(self.options.chunk_tokens, shape.micro_tokens) * shape.vocab * 4
        return {"teacher": anima_core.frozen_bytes(run, self.options.teacher) + chunk}
