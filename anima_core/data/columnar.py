"""Records from columnar files: parquet, and arrow (feather) as a file or a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from anima_core.config.paths import home_expanded
from anima_core.contracts import Record
from anima_core.data.plain import is_plain, plain
from anima_core.errors import DataError

ROWS_AT_ONCE = 256
"""Rows that become Python objects at once."""

_MAPS = "strict"  # as objects; two values under one name are a fault
_UNREADABLE = (ValueError, OverflowError, TypeError, KeyError)  # what pyarrow's values raise
_BUFFER = 2**20  # bytes of a column that are read at once


def read_parquet(source: str) -> Iterator[Record]:
    """Rows of a parquet file, some at a time; `line` is the row's 1-based number.

    Raises:
        DataError: it is not parquet, or damaged; what came before was yielded.
    """
    import pyarrow.parquet

    with _whole(source, "parquet"):
        file = pyarrow.parquet.ParquetFile(
            home_expanded(source), buffer_size=_BUFFER, pre_buffer=False
        )
        with file as table:
            yield from rows(table.iter_batches(batch_size=ROWS_AT_ONCE), source)


def read_arrow(source: str) -> Iterator[Record]:
    """Rows of an Arrow IPC file or stream (feather is the former); `line` is the row's number.

    Raises:
        DataError: it is not Arrow, or damaged; what came before was yielded.
    """
    import pyarrow

    with _whole(source, "arrow"), pyarrow.OSFile(str(home_expanded(source))) as stream:
        head = stream.read(6)
        stream.seek(0)
        if head.startswith(b"FEA1"):
            raise DataError(
                "is a feather file of version 1, which is no Arrow file",
                where=source,
                fix="write it anew with pyarrow.feather.write_feather(table, path)",
            )
        if head == b"ARROW1":
            file = pyarrow.ipc.open_file(stream)
            batches = (file.get_batch(n) for n in range(file.num_record_batches))
        else:
            batches = iter(pyarrow.ipc.open_stream(stream))
        yield from rows(batches, source)


@contextmanager
def _whole(source: str, kind: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"cannot be read as {kind}: {said}",
            where=source,
            fix=f"check that the file is whole and was written as {kind}",
        ) from None


def rows(batches: Iterator[Any], source: str) -> Iterator[Record]:
    """The rows of Arrow record batches or tables, as plain JSON values.

    A value that cannot be one is its record's fault.

    Args:
        batches: what to read.
        source: for the records.

    Raises:
        DataError: two columns have one name.
    """
    number = 0
    simple: bool | None = None
    for batch in batches:
        if simple is None:
            _refuse_twins(batch.schema.names, source)
            simple = all(is_plain(field.type) for field in batch.schema)
        for begin in range(0, batch.num_rows, ROWS_AT_ONCE):
            part = batch.slice(begin, ROWS_AT_ONCE)
            for fields in _objects(part, whole=simple):
                number += 1
                if isinstance(fields, _Bad):
                    yield Record({}, source, number, fields.at(source, number))
                else:
                    yield Record(fields, source, number)


def _refuse_twins(names: list[str], source: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f"has two columns named {name!r}",
                where=source,
                fix="write it with a name of its own for every column",
            )


class _Bad:
    """A value that is none."""

    def __init__(self, column: str, kind: str, said: str) -> None:
        self.column, self.kind, self.said = column, kind, said

    def at(self, source: str, number: int) -> DataError:
        return DataError(
            f"column {self.column!r} of type {self.kind} holds what cannot be read: {self.said}",
            where=f"{source}:{number} (record number)",
            fix="write that column as text, or leave it out",
        )


def _objects(part: Any, *, whole: bool) -> Iterator[dict[str, Any] | _Bad]:
    import pyarrow

    convert: Callable[[Any], Any] = (lambda value: value) if whole else plain
    try:
        objects = [convert(fields) for fields in part.to_pylist(maps_as_pydicts=_MAPS)]
    except (pyarrow.ArrowException, *_UNREADABLE):
        # One value of some row spoils the whole part: find it.
        objects = [_row(part, n) for n in range(part.num_rows)]
    yield from objects


def _row(part: Any, n: int) -> dict[str, Any] | _Bad:
    import pyarrow

    fields = {}
    for field, column in zip(part.schema, part.columns, strict=True):
        try:
            fields[field.name] = plain(column[n].as_py(maps_as_pydicts=_MAPS))
        except (pyarrow.ArrowException, *_UNREADABLE) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            return _Bad(field.name, str(field.type), said)
    return fields
