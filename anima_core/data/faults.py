"""Everything that is wrong with the records of a data set, gathered in one pass."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from anima_core.errors import DataError

SHOWN = 20
"""How many bad records are named, and how many kinds of fault."""

_VARIES = (
    (re.compile(r"\[\d+\]"), "[…]"),
    (re.compile(r"text '.*?'(?=, expected|;|$)|text \".*?\"(?=, expected|;|$)", re.DOTALL), "text"),
    (re.compile(r"the number \S+?(?=,|;| |$)"), "a number"),
    (re.compile(r"\b\d+\b"), "…"),
)


class Faults:
    """Counts faults, and remembers the first ones.

    Attributes:
        total: how many there are.
        first: the first ones, at most `SHOWN`.
        kinds: how many there are of each kind, in the order in which each kind came up.
    """

    def __init__(self) -> None:
        self.total = 0
        self.first: list[DataError] = []
        self.kinds: Counter[str] = Counter()

    def add(self, fault: DataError) -> None:
        """Note the fault of one record."""
        self.total += 1
        self.kinds[kind_of(fault.what)] += 1
        if len(self.first) < SHOWN:
            self.first.append(fault)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note a `DataError` of the body instead of raising it."""
        try:
            yield
        except DataError as fault:
            self.add(fault)

    def refusal(self, sources: Iterable[str], records: int) -> DataError:
        """One error that tells all of it.

        Args:
            sources: where the records come from.
            records: how many were read.

        Returns:
            The fault itself where there is only one, with what else can be done.
        """
        if self.total == 1:
            (only,) = self.first
            others = "or leave the record out, counted, with --skip-bad-records"
            fix = "\n  ".join(filter(None, [only.fix, others if records > 1 else ""]))
            return DataError(only.what, where=only.where, fix=fix)
        what = [f"{self.total:,} of {records:,} records cannot be used", *self.listed()]
        what += [f"by kind: {'; '.join(self.counted())}"]
        fixes = dict.fromkeys(fault.fix for fault in self.first if fault.fix)
        advice = "mend them, or leave them out, counted and listed, with --skip-bad-records"
        return DataError(
            "\n  ".join(what), where=", ".join(sources), fix="\n  ".join([*fixes, advice])
        )

    def listed(self) -> list[str]:
        """The first faults, a line each, and how many more there are."""
        lines = [f"{fault.where}: {fault.what}" for fault in self.first]
        rest = self.total - len(self.first)
        return [*lines, f"and {rest:,} more"] if rest else lines

    def counted(self) -> list[str]:
        """The kinds with their numbers, the most frequent first."""
        kinds = [f"{count:,} × {kind}" for kind, count in self.kinds.most_common(SHOWN)]
        rest = self.total - sum(count for _, count in self.kinds.most_common(SHOWN))
        return [*kinds, f"{rest:,} of other kinds"] if rest else kinds


def kind_of(what: str) -> str:
    """What a fault says without what differs from record to record.

    That is values, numbers, indices, the text around the place, which stands on lines below, and
    the list of what was expected.
    """
    what = what.partition("\n")[0].partition(", expected one of: ")[0]
    for pattern, general in _VARIES:
        what = pattern.sub(general, what)
    return what
