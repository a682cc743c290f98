"""A `RunContext` for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anima_core.config.core import CoreOptions
from anima_core.context import RunContext

if TYPE_CHECKING:
    from pydantic import BaseModel
    from transformers import PretrainedConfig


def run_context(
    *,
    strategies: Mapping[str, BaseModel] | None = None,
    model_dir: Path | None = None,
    model_config: PretrainedConfig | None = None,
    weights_dtype: str | None = None,
    run_dir: Path | None = None,
    rank: int = 0,
    world: int = 1,
    **core: Any,
) -> RunContext:
    """The context that a hook would be given, resolved as a run resolves it on a CPU in float32.

    Args:
        strategies: options by strategy name.
        model_dir: the model's folder.
        model_config: the model's config; a tiny Llama's when None.
        weights_dtype: what weights are kept in; the compute dtype when None.
        run_dir: the run's output folder.
        rank, world: this process among all of them.
        core: core options by field name, e.g. ``learning_rate=1e-3``, ``dtype="bfloat16"``.
            ``auto`` is resolved to ``cpu`` and ``float32``, a missing learning rate to 1e-3.
    """
    config = CoreOptions(**{"model": "tiny", "learning_rate": 1e-3, **core})
    dtype = "float32" if config.dtype == "auto" else config.dtype
    if model_config is None:
        from anima_core.testing.models import tiny_config

        model_config = tiny_config()
    return RunContext(
        config=config,
        strategies=strategies or {},
        model_dir=model_dir or Path(),
        model_config=model_config,
        device="cpu" if config.device == "auto" else config.device,
        dtype=dtype,
        weights_dtype=weights_dtype or dtype,
        run_dir=run_dir,
        rank=rank,
        world=world,
    )
