"""How a record's place is written in a message."""

from __future__ import annotations

from pathlib import PurePath

_BY_LINE = frozenset({".jsonl", ".ndjson", ".csv", ".tsv"})


def place(file: str, line: int) -> str:
    """``file:line``; where records are counted, not lines, it says so.

    Args:
        file: the source as given.
        line: the line, or the 1-based record number of a source that is not read by lines.
    """
    if PurePath(file).suffix.lower() in _BY_LINE:
        return f"{file}:{line}"
    return f"{file}:{line} (record number)"
