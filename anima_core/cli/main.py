"""The command `anima`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code.

    Args:
        argv: the words after ``anima``; those of this process when None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    from anima_core.cli.errors import guarded

    return guarded(lambda: _run(words), debug="--debug" in words)


def _run(words: Sequence[str]) -> int:
    """Build the parser for what is asked, and parse."""
    if words[:2] == ["plugins", "list"] and words[2:] in ([], ["--json"]):
        from anima_core.cli.plugins.listing import list_plugins

        return list_plugins([], machine="--json" in words)  # needs no parser: a third of the time
    from anima_core.cli.app import run_app

    try:
        run_app(words)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    return 0
