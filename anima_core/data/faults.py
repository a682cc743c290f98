"""Everything that is wrong with the records of a data set, gathered in one pass."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from anima_core.data.places import Places
from anima_core.errors import DataError

SHOWN = 20
"""How many kinds of fault are told of, the most frequent first."""

KINDS = 500
"""How many kinds are told apart; what comes up after them is counted as of other kinds."""

OTHER = "of other kinds"

_VARIES = (
    (re.compile(r"\[\d+\]"), "[…]"),
    (re.compile(r"text '.*?'(?=, expected|;|$)|text \".*?\"(?=, expected|;|$)", re.DOTALL), "text"),
    (re.compile(r"the number \S+?(?=,|;| |$)"), "a number"),
    (re.compile(r"\b\d+\b"), "…"),
)
_FIELDS = re.compile(r"(?<=found the fields ).*")


@dataclass
class _Kind:
    """The faults of one kind.

    Attributes:
        first: the first of them, which speaks for all.
        places: where they are.
    """

    first: DataError
    places: Places = field(default_factory=Places)

    def lines(self, *, fix: bool) -> list[str]:
        """What is wrong, where, the text around the first place, and what to do."""
        what, *around = self.first.what.split("\n")
        lines = [f"{self.places.total:,} × {what}", f"    {self.places}"]
        lines += [f"    {line}" for line in around]
        if fix and self.first.fix:
            lines += [f"    {line.strip()}" for line in self.first.fix.split("\n")]
        return lines


@dataclass
class Faults:
    """Counts faults, and remembers where they are.

    Attributes:
        total: how many there are.
        kinds: how many there are of each kind, in the order in which each kind came up.
    """

    total: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    _kinds: dict[str, _Kind] = field(default_factory=dict)

    def add(self, fault: DataError) -> None:
        """Note the fault of one record."""
        kind = self._known(kind_of(fault.what), fault)
        kind.places.add(fault.where)

    def merge(self, later: Faults) -> None:
        """Take in the faults of the records that follow."""
        for name, kind in later._kinds.items():
            self._known(name, kind.first, kind.places.total).places.merge(kind.places)

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
            (only,) = (kind.first for kind in self._kinds.values())
            others = "or leave the record out, counted, with --skip-bad-records"
            fix = "\n".join(filter(None, [only.fix, others if records > 1 else ""]))
            return DataError(only.what, where=only.where, fix=fix)
        alike = next(iter(self._kinds.values())).first.fix if len(self._kinds) == 1 else None
        what = [f"{self.total:,} of {records:,} records cannot be used"]
        what += self.listed(fixes=alike is None)
        advice = "mend them, or leave them out, counted and listed, with --skip-bad-records"
        fixes = filter(None, [alike, advice if self.total < records else ""])
        return DataError("\n  ".join(what), where=", ".join(sources), fix="\n".join(fixes))

    def listed(self, *, fixes: bool = False) -> list[str]:
        """The kinds, the most frequent first, each with its number and its places.

        Args:
            fixes: whether to say what to do about each.
        """
        lines: list[str] = []
        for name, _ in self.kinds.most_common(SHOWN):
            lines += self._kinds[name].lines(fix=fixes)
        rest = self._rest()
        return [*lines, f"{rest:,} {OTHER}"] if rest else lines

    def counted(self) -> list[str]:
        """The kinds with their numbers, the most frequent first."""
        kinds = [f"{count:,} × {kind}" for kind, count in self.kinds.most_common(SHOWN)]
        rest = self._rest()
        return [*kinds, f"{rest:,} {OTHER}"] if rest else kinds

    def _rest(self) -> int:
        return self.total - sum(count for _, count in self.kinds.most_common(SHOWN))

    def _known(self, name: str, fault: DataError, count: int = 1) -> _Kind:
        if name not in self._kinds and len(self._kinds) >= KINDS:
            name, fault = OTHER, DataError(OTHER, where=fault.where)
        self.total += count
        self.kinds[name] += count
        return self._kinds.setdefault(name, _Kind(fault))


def kind_of(what: str) -> str:
    """What a fault says without what differs from record to record.

    That is values, numbers, indices, the order of fields, the text around the place, which stands
    on lines below, and the list of what was expected.
    """
    what = what.partition("\n")[0].partition(", expected one of: ")[0]
    what = _FIELDS.sub(lambda match: ", ".join(sorted(match[0].split(", "))), what)
    for pattern, general in _VARIES:
        what = pattern.sub(general, what)
    return what
