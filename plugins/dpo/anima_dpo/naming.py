"""How an option names a model: all that MODEL may be. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator


def _kept_whole(value: object) -> object:
    """A path that exists is made absolute, so that a run's config.yaml works from anywhere."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value:
        return value
    try:
        path = Path(value).expanduser()
        there = (path / "manifest.json" if value == "demo" else path).exists()
    except (OSError, RuntimeError, ValueError):  # too long, or the home of nobody
        return value
    return str(path.absolute()) if there else value


ModelName = Annotated[str, BeforeValidator(_kept_whole)]
"""A folder, a run directory, a hub id, a ``.gguf`` file or ``demo``."""

REFERENCE = (
    "The model that the trained one is compared with: a folder, a run directory, a hub id, a .gguf "
    "file or demo. It must have the same vocabulary; it is loaded first, asked once and freed. "
    "[default: the model as training starts]"
)
