"""The manifest: what a run was made of, and what became of it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from anima_core.runs.resuming import SAME_OPTIONS

if TYPE_CHECKING:
    from anima_core.registry.selection import Selection
    from anima_core.runs.prepared import Prepared

PACKAGES = (
    "anima-adapt", "torch", "transformers", "peft", "bitsandbytes", "accelerate", "tokenizers",
    "safetensors", "flash-attn", "kernels",
)  # fmt: skip


def manifest_of(prepared: Prepared, model_dir: Path) -> dict[str, Any]:
    """Everything about a run that is known as it starts.

    Args:
        prepared: the run.
        model_dir: the folder with the base model's weights.
    """
    source, data = prepared.source, prepared.plan.data
    template = getattr(prepared.tokenizer, "chat_template", None) or ""
    return {
        "argv": list(prepared.request.argv),
        "created": now(),
        "model": {
            "given": source.given,
            "base": source.base,
            "kind": source.kind,
            "run": str(source.run) if source.run else None,
            "sha256": fingerprint(model_dir),
            "trained_sha256": trained_fingerprint(source.run),
        },
        "data_sha256": data.sha256 if data else None,
        "template_sha256": hashlib.sha256(str(template).encode()).hexdigest(),
        "strategies": strategies_of(prepared.selection),
        "options": prepared.run.config.model_dump(mode="json", include=set(SAME_OPTIONS)),
        "versions": versions(),
        "processes": prepared.run.world,
        "plan": prepared.plan.to_dict(),
    }


def strategies_of(selection: Selection) -> Mapping[str, Any]:
    """Every strategy of a run, with its distribution, version, slots and options."""
    configuring = selection.stack("configure_model")
    return {
        p.strategy: {
            "distribution": p.distribution,
            "version": p.version,
            "slots": [s for s, q in selection.providers.items() if q.strategy == p.strategy],
            "default": p.default,
            "configures_model": p in configuring,
            "options": selection.strategies[p.strategy].model_dump(mode="json"),
        }
        for p in selection.members
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what is computed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def fingerprint(folder: Path) -> str:
    """A hash of a folder's safetensors: names, sizes, 64 KiB at 64 places of each, every tensor.

    Of a tensor it is 4 KiB each at its start, middle and end: a merge changes nearly all of the
    tensors that it touches, and may touch few.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as handle:
            for place in range(64):
                handle.seek(size * place // 64)
                digest.update(handle.read(1 << 16))
            for place in _tensor_places(handle):
                handle.seek(place)
                digest.update(handle.read(1 << 12))
    return digest.hexdigest()


def trained_fingerprint(run: Path | None) -> str | None:
    """The same of what a run directory has trained; None where there is none."""
    from anima_core.training.checkpoint import trained_folder

    trained = trained_folder(run) if run is not None else None
    return fingerprint(trained) if trained is not None else None


def _tensor_places(handle: BinaryIO) -> list[int]:
    """Where to look at each tensor of a safetensors file; nowhere in a file that is none.

    The format: eight bytes that say how long the header is, the header in JSON, the tensors.
    """
    handle.seek(0)
    try:
        size = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(size)) if size < 1 << 27 else {}
        spans = [entry["data_offsets"] for n, entry in header.items() if n != "__metadata__"]
        return sorted(
            8 + size + max(start, place)
            for start, stop in spans
            for place in (start, (start + stop) // 2, stop - (1 << 12))
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
