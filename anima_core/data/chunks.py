"""Records, some at a time: as many as are encoded in one go, fewer where they are long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from anima_core.contracts import Record
from anima_core.data.encoder import AT_ONCE
from anima_core.errors import DataError

Chunk = list[Record]

_RECORDS = 4 * AT_ONCE
_CHARACTERS = 2**22


def chunks(records: Iterable[Record]) -> Iterator[Chunk]:
    """Some records at a time; those before a failure come before it is raised.

    Where a data set is cut depends on nothing but its records.
    """
    chunk: Chunk = []
    size = 0
    try:
        for record in records:
            chunk.append(record)
            size += _size(record.fields)
            if len(chunk) >= _RECORDS or size >= _CHARACTERS:
                yield chunk
                chunk, size = [], 0
    except DataError:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _size(value: object) -> int:
    """About how many characters a value has."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list) else 1
