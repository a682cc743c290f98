"""Records from csv, tsv and parquet files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anima_core.config.paths import home_expanded
from anima_core.contracts import Record
from anima_core.data.texts import lines
from anima_core.errors import DataError

_ROWS_AT_ONCE = 1024


def read_csv(source: str) -> Iterator[Record]:
    """Rows of a csv or tsv file under its header; `line` is where a row begins.

    Values are text. Quoting follows RFC 4180; blank lines are passed over.
    """
    tabs = Path(source).suffix.lower() == ".tsv"
    with _long_fields():
        rows = csv.reader(lines(source), delimiter="\t" if tabs else ",", strict=True)
        header: list[str] | None = None
        begin = 1
        try:
            for row in rows:
                where, begin = begin, rows.line_num + 1
                if not row:
                    continue
                if header is None:
                    header = _header(row, source, where)
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"has {len(row)} columns where the header has {len(header)}",
                        where=f"{source}:{where}",
                        fix='quote a value that holds the separator or a line break: "…"',
                    )
                yield Record(dict(zip(header, row, strict=True)), source, where)
        except csv.Error as error:
            raise DataError(
                f"malformed table: {error}",
                where=f"{source}:{begin}",
                fix='write a quote inside of a quoted value twice: ""',
            ) from None


def _header(row: list[str], source: str, line: int) -> list[str]:
    names = [name.strip() for name in row]
    for name in names:
        if not name or names.count(name) > 1:
            raise DataError(
                f"the header names a column {name!r} twice" if name else "a column has no name",
                where=f"{source}:{line}",
                fix="the first line names every column once",
            )
    return names


@contextmanager
def _long_fields() -> Iterator[None]:
    """The csv module's limit of 128 KiB a value, lifted while a file is read."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_parquet(source: str) -> Iterator[Record]:
    """Rows of a parquet file, some at a time; `line` is the row's 1-based number."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(home_expanded(source)) as table:
            for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE):
                for fields in batch.to_pylist():
                    number += 1
                    yield Record(fields, source, number)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"cannot be read as parquet: {str(error).splitlines()[0]}",
            where=source,
            fix="check that the file is whole and was written as parquet",
        ) from None
