"""What `validate` and `diagnose` hooks report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Problem:
    """A reason why a run cannot start, found before any weight is read.

    Attributes:
        where: the option, strategy or file concerned, e.g. ``"--qlora.bits"``.
        what: what is wrong, in one sentence.
        fix: what to change.
        level: ``"error"`` refuses the run; ``"warning"`` and ``"note"`` are said once, in the plan.
        exit_code: what the command exits with when this is the first error.
    """

    where: str
    what: str
    fix: str = ""
    level: Literal["error", "warning", "note"] = "error"
    exit_code: int = 2


@dataclass(frozen=True)
class Finding:
    """One line of `anima doctor`.

    Attributes:
        level: how bad it is.
        what: what was found.
        fix: what to do; empty when nothing needs doing.
    """

    level: Literal["ok", "warning", "error"]
    what: str
    fix: str = ""
