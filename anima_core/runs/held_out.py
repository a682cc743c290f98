"""What training made of held-out data: the first evaluation of a run beside its last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

PREFIX = "eval_"


class Change(NamedTuple):
    """One metric before and after training: its name without ``eval_``, and both values."""

    name: str
    before: float
    after: float


def changes(records: Sequence[Mapping[str, Any]], headline: Sequence[str]) -> list[Change]:
    """The metrics of the last evaluation beside those before the first step.

    Args:
        records: those of ``metrics.jsonl``, in order.
        headline: which of the loss's metrics are wanted, beside ``loss``; all of them when empty.

    Returns:
        Nothing, where there was no evaluation before the first step, or none since.
    """
    rows = [record for record in records if "eval_loss" in record]
    if len(rows) < 2 or rows[0]["step"] != 0:
        return []
    before, after = rows[0], rows[-1]
    wanted = [f"{PREFIX}{name}" for name in ("loss", *headline)]
    names = wanted if headline else [name for name in after if name.startswith(PREFIX)]
    return [
        Change(name.removeprefix(PREFIX), before[name], after[name])
        for name in names
        if name in before and name in after
    ]


def told(found: Sequence[Change]) -> str:
    """The changes as one line."""
    parts = (f"{name} {before:.4g} → {after:.4g}" for name, before, after in found)
    return f"held-out data, before → after: {', '.join(parts)}"
