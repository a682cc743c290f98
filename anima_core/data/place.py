"""How a record's place is written in a message."""

from __future__ import annotations

from anima_core.data.compressed import suffixes

_BY_LINE = frozenset({".jsonl", ".ndjson", ".csv", ".tsv"})
_WHOLE = frozenset({".txt", ".md"})


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
