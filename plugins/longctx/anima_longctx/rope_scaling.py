"""The strategy ``rope-scaling``: a longer window by rescaled rotary positions. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

import anima_core

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from anima_core import Problem, RunContext

FLAG = "--rope-scaling"
_ONLY = {
    "attention_factor": "yarn",
    "beta_fast": "yarn",
    "beta_slow": "yarn",
    "low_freq_factor": "llama3",
    "high_freq_factor": "llama3",
}


class RopeScalingOptions(anima_core.Options):
    """Options of ``rope-scaling``."""

    type: Literal["linear", "dynamic", "yarn", "llama3"] = Field(
        default="yarn", description="How frequencies are rescaled."
    )
    factor: float = Field(
        default=2.0, gt=1, allow_inf_nan=False, description="How many times longer the window gets."
    )
    original_max_position_embeddings: int | None = Field(
        default=None,
        ge=1,
        description="Window the model was pretrained with, in tokens [default: its config's].",
    )
    attention_factor: float | None = Field(
        default=None,
        gt=0,
        description="yarn: factor on cosines and sines [default: 0.1 ln(factor) + 1].",
    )
    beta_fast: float | None = Field(
        default=None,
        gt=0,
        description="yarn: dimensions that turn more often than this within the original window "
        "are left as they are [default: 32 turns].",
    )
    beta_slow: float | None = Field(
        default=None,
        gt=0,
        description="yarn: dimensions that turn less often than this are slowed down by factor "
        "[default: 1 turn].",
    )
    low_freq_factor: float | None = Field(
        default=None,
        gt=0,
        description="llama3: wavelengths over original window / this are slowed down by factor "
        "[default: 1].",
    )
    high_freq_factor: float | None = Field(
        default=None,
        gt=0,
        description="llama3: wavelengths under original window / this are left as they are "
        "[default: 4].",
    )

    @model_validator(mode="after")
    def _check(self) -> RopeScalingOptions:
        for name, kind in _ONLY.items():
            if getattr(self, name) is not None and self.type != kind:
                raise ValueError(f"{name} is an option of type {kind}, and type is {self.type}")
        if (self.beta_fast or 32.0) <= (self.beta_slow or 1.0):
            raise ValueError("beta_fast must be greater than beta_slow")
        if (self.high_freq_factor or 4.0) <= (self.low_freq_factor or 1.0):
            raise ValueError("high_freq_factor must be greater than low_freq_factor")
        return self


class RopeScaling:
    """Changes the model's config before it is loaded, for training and generation alike."""

    api: ClassVar[int] = 1
    summary: ClassVar[str] = "A longer window by RoPE scaling: linear, dynamic (NTK), YaRN, Llama 3"
    slots: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    conflicts: ClassVar[tuple[str, ...]] = ()
    Options = RopeScalingOptions

    def __init__(self, options: RopeScalingOptions) -> None:
        self.options = options

    @anima_core.hookimpl
    def configure_model(self, run: RunContext, config: PretrainedConfig) -> None:  # noqa: ARG002
        """Rescale the config in place.

        Raises:
            UsageError: the model has no RoPE, or one that is scaled already.
        """
        from anima_longctx.rope_config import obstacle, scale

        text = config.get_text_config()
        problem = obstacle(text, self.options)
        if problem is not None:
            raise anima_core.UsageError(problem.what, where=problem.where, fix=problem.fix)
        scale(text, self.options)

    @anima_core.hookimpl
    def validate(self, run: RunContext) -> Sequence[Problem]:
        """What stands in the way, or a note that says how the window grows."""
        from anima_longctx.rope_config import obstacle, windows

        config = run.model_config.get_text_config()
        problem = obstacle(config, self.options)
        if problem is not None:
            return [problem]
        original, target = windows(config, self.options)
        what = f"{self.options.type} scaling stretches {original} positions to {target}"
        return [anima_core.Problem(FLAG, what, level="note")]
