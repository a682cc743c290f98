"""Everything that reference log-probs depend on: what makes up their key in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anima_core.runs.manifest import fingerprint, strategies_of, versions

if TYPE_CHECKING:
    from anima_core.context import RunContext
    from anima_core.registry.selection import Selection
    from anima_core.runs.plan import DataSummary

HOOKS = (
    "load_model", "adapt_model", "attention", "configure_model", "patch_model", "token_logps",
)  # fmt: skip
"""Whose strategies have a part in a log-prob, with their versions and options."""

CODE = ("attention", "loss", "model", "training")
"""Folders of the core that compute log-probs: between releases they change without a version."""


def data_facts(
    data: DataSummary, rows: Sequence[int], run: RunContext, tokens: int
) -> dict[str, Any]:
    """What is asked of which examples.

    The data's hash is that of the encoded examples: their ids, masks and segments, and so of
    template, lengths and all that decides what becomes of a record.

    Args:
        data: the data set.
        rows: the examples that are asked for.
        run: the run.
        tokens: tokens in flight at once. In float32 they change a log-prob by less than 1e-5;
            in 16 bits by more.
    """
    return {
        "data": data.sha256,
        "rows": list(rows) if len(rows) < data.examples else "all",
        "dtype": run.dtype,
        "device": run.device.split(":")[0],
        "tokens": tokens if run.dtype != "float32" else "any",
        "versions": versions(),
        "code": _code(),
    }


def model_facts(
    run: RunContext, selection: Selection, base: Path, trained: Path | None
) -> dict[str, Any]:
    """What computes it.

    Args:
        run: the context of the model.
        selection: the strategies that make it what it is.
        base: the folder of its base model.
        trained: what a run has trained of it, or None.
    """
    names = {p.strategy for hook in HOOKS for p in selection.stack(hook)}
    strategies = strategies_of(selection)
    return {
        "model": identity(base),
        "start": identity(trained) if trained is not None else None,
        "seed": run.config.seed,
        "strategies": {name: strategies[name] for name in sorted(names)},
    }


def identity(folder: Path) -> str:
    """A hash of a model's folder: of its weights, its configuration and its code."""
    whole = hashlib.sha256(fingerprint(folder).encode())
    for file in sorted((*folder.glob("*config.json"), *folder.glob("*.py"))):
        if file.name not in ("tokenizer_config.json", "generation_config.json"):
            whole.update(file.name.encode() + file.read_bytes())
    return whole.hexdigest()


@cache
def _code() -> str:
    core = Path(__file__).parents[1]
    whole = hashlib.sha256()
    for name in CODE:
        for file in sorted((core / name).glob("*.py")):
            whole.update(file.read_bytes())
    return whole.hexdigest()
