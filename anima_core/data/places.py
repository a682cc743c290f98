"""Where many faults of one kind stand, in few words: ``data.jsonl:3, 7, 20-25``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import groupby

KEPT = 100
"""Places, or runs of neighbouring ones, that are remembered."""

_PLACE = re.compile(r"(.*?):(\d+)((?::\d+)?)((?: \(record number\))?)", re.DOTALL)


@dataclass
class _Run:
    """Lines, or records, one after another in one file; a column stands for itself."""

    file: str
    first: int
    last: int
    column: str
    unit: str

    def follows(self, other: _Run) -> bool:
        """Whether it goes on where another run ends."""
        same = (self.file, self.unit) == (other.file, other.unit)
        return same and not (self.column or other.column) and self.first == other.last + 1

    def __str__(self) -> str:
        if self.last < 0:
            return ""
        return f"{self.first}{self.column}" + (f"-{self.last}" if self.last > self.first else "")


@dataclass
class Places:
    """Places in the order in which they came.

    Attributes:
        total: how many there are.
    """

    total: int = 0
    _runs: list[_Run] = field(default_factory=list)
    _more: int = 0

    def add(self, where: str) -> None:
        """Note one, as `place` and the readers write it."""
        match = _PLACE.fullmatch(where)
        if match:
            file, number, column, unit = match.groups()
            self._add(_Run(file, int(number), int(number), column, unit))
        else:
            self._add(_Run(where, -1, -1, "", ""))

    def merge(self, later: Places) -> None:
        """Take in the places that follow."""
        for run in later._runs:
            self._add(run)
        self.total += later._more
        self._more += later._more

    def __str__(self) -> str:
        words = []
        for (file, unit), group in groupby(self._runs, lambda run: (run.file, run.unit)):
            runs = list(group)
            numbers = ", ".join(map(str, runs))
            many = len(runs) > 1 or runs[0].last > runs[0].first
            if unit:
                words.append(f"{file}: record{'s' * many} {numbers}")
            else:
                words.append(f"{file}:{numbers}" if runs[0].first >= 0 else file)
        return "; ".join(words) + (f" and {self._more:,} more" if self._more else "")

    def _add(self, run: _Run) -> None:
        count = run.last - run.first + 1
        self.total += count
        if self._runs and run.follows(self._runs[-1]):
            self._runs[-1].last = run.last
        elif len(self._runs) < KEPT and not self._more:
            self._runs.append(_Run(run.file, run.first, run.last, run.column, run.unit))
        else:
            self._more += count
