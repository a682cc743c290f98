"""`anima plugins check`: the conformance kit, put to what is installed or to a source folder."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from rich.text import Text

from anima_core.cli.consoles import stdout
from anima_core.cli.plugins.check_process import Result, run_checks
from anima_core.cli.plugins.check_targets import find_targets

_STATES = {"ok": "green", "failed": "bold red", "skipped": "yellow"}


def check_plugins(target: str | None, disabled: Sequence[str], *, machine: bool) -> int:
    """Check strategies and print what became of each check; 1 when one failed.

    Args:
        target: an installed distribution, or the folder of a project's source; every distribution
            but the core's when None.
        disabled: distributions to leave out.
        machine: print JSON.

    Raises:
        UsageError: there is no such distribution or project.
    """
    results: list[Result] = []
    printer = _Printer()
    for found in find_targets(target, disabled):
        for result in run_checks(found, disabled):
            results.append(result)
            if not machine:
                printer.say(result)
    if machine:
        listed = [asdict(result) for result in results]
        sys.stdout.write(json.dumps(listed, ensure_ascii=False, indent=2) + "\n")
    else:
        printer.sum_up(results)
    return int(any(result.state == "failed" for result in results))


class _Printer:
    """Prints results as they come, under the name of what they are about."""

    def __init__(self) -> None:
        self._console = stdout()
        self._about = ""

    def say(self, result: Result) -> None:
        """One line for the check, and what was wrong below it."""
        origin = f"from {result.distribution} {result.version}"
        about = f"{result.strategy} ({origin})" if result.strategy else origin
        if about != self._about:
            self._console.print(Text(about, style="bold"), soft_wrap=True)
            self._about = about
        line = Text(f"  {result.state:<8}", style=_STATES[result.state])
        line.append(result.check, style="default")
        if result.state == "skipped":
            line.append(f": {result.reason}", style="dim")
        self._console.print(line, soft_wrap=True)
        if result.state == "failed":
            for text in result.reason.splitlines():
                self._console.print(Text(f"          {text}"), soft_wrap=True)

    def sum_up(self, results: Sequence[Result]) -> None:
        """How many checks came out how."""
        counts = Counter(result.state for result in results)
        if not counts:
            self._console.print("no distribution but the core's offers a strategy")
            return
        said = [f"{counts[state]} {state}" for state in _STATES if counts[state]]
        self._console.print(", ".join(said))
