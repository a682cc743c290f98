"""How a record's place is written in a message."""

from __future__ import annotations

import re
from collections.abc import Sequence

from anima_core.data.compressed import suffixes

_BY_LINE = frozenset({".jsonl", ".ndjson", ".csv", ".tsv"})
_WHOLE = frozenset({".txt", ".md"})
_PLACE = re.compile(r"(.*):(\d+)( \(record number\))?", re.DOTALL)


def place(file: str, line: int) -> str:
    """``file:line``; where records are counted, not lines, it says so.

    Args:
        file: the source as given.
        line: the line, or the 1-based record number of a source that is not read by lines. A file
            that is one record is named alone.
    """
    kind = suffixes(file)[0]
    if kind in _BY_LINE:
        return f"{file}:{line}"
    return file if kind in _WHOLE else f"{file}:{line} (record number)"


def together(group: Sequence[str], between: str) -> str:
    """Places in few words: ``data.jsonl:3 = 17`` for two of one file."""
    found = [_PLACE.fullmatch(place) for place in group]
    if all(found):
        (file, _, unit), *others = (match.groups() for match in found if match)
        if all((f, u) == (file, unit) for f, _, u in others):
            numbers = between.join(match[2] for match in found if match)
            return f"{file}:{numbers}{unit or ''}"
    return between.join(group)
