"""`anima plugins list`: every strategy that is installed, and whether it can be used."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from anima_core.registry.catalog import Entry, catalog

WIDEST = (20, 26, 28)
"""Columns of the first cells, in characters; a longer one moves the rest of its own line only."""

QUIET = frozenset({"validate", "estimate_memory", "diagnose"})
"""Hooks that say nothing of what a strategy is for."""


@dataclass(frozen=True)
class PluginLine:
    """What ``--json`` gives for one strategy.

    Attributes:
        strategy, distribution, version: what is offered, and by whom.
        state: ``ok``, ``shadowed``, ``broken`` or ``blocked``; see `Entry`.
        reason: why it is not ok, and what to do about it.
        slots: the slots it answers.
        hooks: every hook that it implements.
        summary: what it says of itself.
    """

    strategy: str
    distribution: str
    version: str
    state: str
    reason: str
    slots: tuple[str, ...]
    hooks: tuple[str, ...]
    summary: str


def plugin_line(entry: Entry) -> PluginLine:
    """An entry as it is listed."""
    offer, report = entry.offer, entry.report
    said = "; ".join(part for part in (entry.reason, entry.fix) if part)
    origin = (offer.name, offer.distribution, offer.version)
    return PluginLine(*origin, entry.state, said, report.slots, report.hooks, report.summary)


def list_plugins(disabled: Sequence[str], *, machine: bool) -> int:
    """Print every offered strategy on standard output; 0 even when some are broken."""
    lines = [plugin_line(entry) for entry in catalog(disabled, tell=trying)]
    if machine:
        listed = [asdict(line) for line in lines]
        sys.stdout.write(json.dumps(listed, ensure_ascii=False, indent=2) + "\n")
        return 0
    for text in _table(lines):
        sys.stdout.write(text + "\n")
    return 0


def trying(number: int) -> None:
    """Tell a person why it takes a while."""
    if sys.stderr.isatty():
        those = "strategy" if number == 1 else f"{number} strategies"
        sys.stderr.write(f"trying the hooks of the third-party {those}, once ...\n")


def _table(lines: Sequence[PluginLine]) -> Iterator[str]:
    """A line for each, with what it says of itself and what is said of it below. Without rich."""
    from shutil import get_terminal_size
    from textwrap import wrap

    rows = [("strategy", "answers", "from", "state")]
    for line in lines:
        answers = line.slots or [hook for hook in line.hooks if hook not in QUIET]
        origin = f"{line.distribution} {line.version}"
        rows.append((line.strategy, ", ".join(answers) or "-", origin, line.state))
    longest = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    widths = [min(pair) for pair in zip(longest, WIDEST, strict=True)]
    room = max(40, get_terminal_size().columns - 4)
    below = ["", *(line.summary for line in lines)], ["", *(line.reason for line in lines)]
    for (*cells, last), *texts in zip(rows, *below, strict=True):
        head = "".join(f"{cell:<{width}}  " for cell, width in zip(cells, widths, strict=True))
        yield head + last
        yield from (f"    {part}" for text in texts for part in wrap(text, room))
