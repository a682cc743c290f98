"""Options that would do nothing: said before a run, for every strategy here. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anima_core import Options, Problem


def changed(options: Options, field: str) -> bool:
    """Whether an option has another value than its default; a run file may repeat a default."""
    default: Any = type(options).model_fields[field].get_default()
    return bool(getattr(options, field) != default)


def nothing(strategy: str, field: str, why: str, fix: str) -> Problem:
    """The problem of an option that would do nothing."""
    return Problem(f"--{strategy}.{field.replace('_', '-')}", f"would do nothing: {why}", fix)


def smoothing_problems(strategy: str, options: Options) -> Sequence[Problem]:
    """What is wrong with ``label_smoothing`` beside a ``loss`` other than sigmoid, the default."""
    if not changed(options, "loss") or not changed(options, "label_smoothing"):
        return []
    fix = f"Leave it out, or use --{strategy}.loss sigmoid."
    return [nothing(strategy, "label_smoothing", "only sigmoid looks at it", fix)]
