"""The base model's config beside an adapter, where a strategy has changed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from anima_core import RunContext

FOLDER = "base_config"
"""Folder in the adapter's. A ``config.json`` beside the adapter itself would make transformers
take the adapter for a whole model."""


def save_base_config(run: RunContext, folder: Path) -> None:
    """Write the config that the base model was loaded with, unless it is the model's own.

    Whoever loads the adapter elsewhere needs it: on a base model without the run's RoPE scaling,
    the adapter belongs to another model. peft's layout has no place for that.

    Args:
        run: the run.
        folder: the adapter's.
    """
    own = AutoConfig.from_pretrained(run.model_dir, trust_remote_code=run.config.trust_remote_code)
    if _fields(run.model_config) != _fields(own):
        run.model_config.save_pretrained(folder / FOLDER)


def _fields(config: PretrainedConfig) -> dict[str, Any]:
    """Everything but where it was read from."""
    return {name: value for name, value in config.to_dict().items() if name != "_name_or_path"}
