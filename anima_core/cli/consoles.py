"""The two streams: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys

from rich.console import Console


def stderr() -> Console:
    """Where progress, notes and errors go."""
    return Console(stderr=True, highlight=False, width=_width(sys.stderr.isatty()))


def stdout() -> Console:
    """Where results go."""
    return Console(highlight=False, width=_width(sys.stdout.isatty()))


def _width(terminal: bool) -> int | None:
    """Lines of a pipe or a file are not cut to the 80 columns of a terminal that is not there."""
    import os

    return None if terminal or os.environ.get("COLUMNS") else 120
