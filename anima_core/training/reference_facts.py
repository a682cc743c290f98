"""Everything that reference log-probs depend on: what makes up their key in the cache."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anima_core.runs.manifest import fingerprint, strategies_of, versions
from anima_core.training.reference_pass import any_cut

if TYPE_CHECKING:
    from anima_core.context import RunContext
    from anima_core.contracts import Attention
    from anima_core.registry.selection import Selection
    from anima_core.runs.plan import DataSummary

HOOKS = (
    "load_model", "adapt_model", "attention", "configure_model", "patch_model", "token_logps",
)  # fmt: skip
"""Whose strategies have a part in a log-prob, with their versions and options."""

CODE = (
    "attention/*.py", "batch.py", "data/collate.py", "loss/*.py", "model/*.py", "training/*.py",
)  # fmt: skip
"""The core's files that compute log-probs: between releases they change without a version."""


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
        "tokens": "any" if any_cut(run) else tokens,
        "versions": versions(),
        "code": _code(),
    }


def told_of(data: DataSummary, run: RunContext) -> dict[str, Any]:
    """What of the facts' hash of the data a person knows: its sources, and what is done with them.

    Args:
        data: the data set.
        run: the run.
    """
    options = ("max_prompt_length", "max_answer_length", "overlong", "template", "train_on")
    given = {f"--{name}": getattr(run.config, name) for name in options}
    return {"sources": list(data.sources), "--max-length": data.limit, **given}


def model_facts(
    run: RunContext, selection: Selection, base: Path, trained: Path | None, attention: Attention
) -> dict[str, Any]:
    """What computes it.

    Args:
        run: the context of the model.
        selection: the strategies that make it what it is.
        base: the folder of its base model.
        trained: what a run has trained of it, or None.
        attention: its attention, whose note may say which kernel was chosen.
    """
    takes_part = [p for hook in HOOKS for p in selection.stack(hook)]
    names = {p.strategy for p in takes_part}
    packages = {p.cls.__module__.partition(".")[0] for p in takes_part} - {"anima_core"}
    strategies = strategies_of(selection)
    return {
        "model": identity(base),
        "start": identity(trained) if trained is not None else None,
        "seed": run.config.seed,
        "attention": [attention.name, attention.note],
        "plugins": {name: _plugin_code(name) for name in sorted(packages)},
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
    return _hash_of(file for pattern in CODE for file in core.glob(pattern))


def _plugin_code(package: str) -> str:
    """A hash of a plugin's modules: an editable one changes without a version."""
    module = sys.modules.get(package)
    places = [Path(place) for place in getattr(module, "__path__", ())]
    files = [file for place in places for file in place.rglob("*.py")]
    own = getattr(module, "__file__", None)
    return _hash_of(files or ([Path(own)] if own is not None else []))


def _hash_of(files: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for file in sorted(files):
        content = file.read_bytes()
        whole.update(f"{file.name}:{len(content)}".encode() + content)
    return whole.hexdigest()
