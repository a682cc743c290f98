"""`RunContext`: what every hook is told about the run. Read-only, imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from pydantic import BaseModel
    from transformers import PretrainedConfig

    from anima_core.config.core import CoreOptions


@dataclass(frozen=True)
class RunContext:
    """The resolved run.

    Attributes:
        config: the core's options, resolved.
        strategies: options of every strategy that takes part, by strategy name.
        model_dir: local folder with the base model's config, tokenizer and (once weights are
            wanted) safetensors; a hub id is downloaded into its cache first.
        model_config: the model's config after every `configure_model`.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:0"``, ``"mps"`` …
        dtype: what the matrix products compute in: ``float32``, ``bfloat16`` or ``float16``.
        weights_dtype: what base weights are kept in: `dtype`, but ``float32`` where the base
            weights themselves are trained (updates are lost in 16 bits).
        run_dir: the run's output folder, or None (plan, generate).
        rank, world: this process among all of them.
    """

    config: CoreOptions
    strategies: Mapping[str, BaseModel]
    model_dir: Path
    model_config: PretrainedConfig
    device: str
    dtype: str
    weights_dtype: str
    run_dir: Path | None = None
    rank: int = 0
    world: int = 1

    @property
    def torch_dtype(self) -> torch.dtype:
        """`dtype` as torch's own type."""
        return _torch_dtype(self.dtype)

    @property
    def torch_weights_dtype(self) -> torch.dtype:
        """`weights_dtype` as torch's own type."""
        return _torch_dtype(self.weights_dtype)


def _torch_dtype(name: str) -> torch.dtype:
    import torch

    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype
