"""A model's config: as it is read, and as a run's strategies change it."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anima_core.errors import UsageError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from anima_core.config.core import CoreOptions
    from anima_core.context import RunContext
    from anima_core.registry.selection import Selection


def read_config(folder: Path, config: CoreOptions) -> PretrainedConfig:
    """Read a model's config.

    Raises:
        UsageError: it cannot be read, or needs remote code that was not allowed.
    """
    from transformers import AutoConfig

    try:
        read: PretrainedConfig = AutoConfig.from_pretrained(
            folder, trust_remote_code=config.trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"the model's config cannot be read: {str(error).splitlines()[0]}",
            where="MODEL",
            fix="Check config.json; a model with code of its own needs --trust-remote-code.",
        ) from error
    return read


def configured(run: RunContext, selection: Selection) -> RunContext:
    """The same run with every `configure_model` applied to a copy of the model's config."""
    config = copy.deepcopy(run.model_config)
    selection.call_stack("configure_model", run=run, config=config)
    return replace(run, model_config=config)
