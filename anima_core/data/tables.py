"""Records from csv and tsv files."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from anima_core.contracts import Record
from anima_core.data.compressed import suffixes
from anima_core.data.lines import LIMIT, lines
from anima_core.errors import DataError

_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}


def read_csv(source: str) -> Iterator[Record]:
    """Rows of a csv or tsv file under its header; `line` is where a row begins.

    Values are text, as they stand. Quoting follows RFC 4180; blank lines are passed over. A bad
    row is one record's fault, and reading goes on at the line after it.

    Raises:
        DataError: the header is malformed, or the file is no table at all.
    """
    rows = _Rows(source)
    header: list[str] | None = None
    for row, fault, line in rows:
        if header is None:
            if fault:
                raise fault
            header = _header(row, source, line, rows.delimiter)
        elif fault:
            yield Record({}, source, line, fault)
        elif len(row) == len(header):
            yield Record(dict(zip(header, row, strict=True)), source, line)
        elif any(cell.strip() for cell in row):
            yield Record({}, source, line, _columns(len(row), len(header), source, line))


class _Rows:
    """The rows of a file with their first lines, and what is wrong with them."""

    def __init__(self, source: str) -> None:
        self.delimiter = "\t" if suffixes(source)[0] == ".tsv" else ","
        self._source = source
        self._faults: list[DataError] = []  # of the lines of the row that is being read
        self._rows = csv.reader(self._feed(), delimiter=self.delimiter, strict=True)

    def __iter__(self) -> Iterator[tuple[list[str], DataError | None, int]]:
        while True:
            line = self._rows.line_num + 1
            self._faults.clear()
            try:
                row, fault = self._next(), None
            except csv.Error as error:
                row, fault = [], self._malformed(str(error), line)
            if row is None:
                return
            if self._faults:
                fault = self._faults[0]
            if row or fault:
                yield row, fault, line

    def _next(self) -> list[str] | None:
        """The next row, or None; the csv module's limit of 128 KiB a value is lifted meanwhile."""
        before = csv.field_size_limit(LIMIT)
        try:
            return next(self._rows, None)
        finally:
            csv.field_size_limit(before)

    def _feed(self) -> Iterator[str]:
        for line in lines(self._source):
            if line.fault:
                self._faults.append(line.fault)
            yield line.text

    def _malformed(self, said: str, line: int) -> DataError:
        last = self._rows.line_num
        fix = 'write a quote inside of a quoted value twice: ""'
        if said.startswith("unexpected end"):
            said, fix = "a quoted value is not closed", "close it with a quote"
        elif said.startswith("field larger"):
            said = f"a value is longer than {LIMIT // 2**20} MiB"
            fix = "a quote may lack its other end; if not, divide the record"
        elif said.startswith("new-line"):
            said, fix = "a carriage return inside of a line", "end each line with a line feed"
        if last > line:
            said += f" (the row runs to line {last})"
        return DataError(f"malformed table: {said}", where=f"{self._source}:{line}", fix=fix)


def _header(row: list[str], source: str, line: int, delimiter: str) -> list[str]:
    names = [name.strip() for name in row]
    for name in names:
        if not name or names.count(name) > 1:
            raise DataError(
                f"the header names a column {name!r} twice" if name else "a column has no name",
                where=f"{source}:{line}",
                fix="the first line names every column once",
            )
    for separator, name in _SEPARATORS.items():
        if len(names) == 1 and separator in names[0]:
            raise DataError(
                f"the header is one column, {names[0][:60]!r}: {name} separate nothing here",
                where=f"{source}:{line}",
                fix=f"separate by {_SEPARATORS[delimiter]} (a .csv by commas, a .tsv by tabs)",
            )
    return names


def _columns(found: int, expected: int, source: str, line: int) -> DataError:
    return DataError(
        f"has {found} columns where the header has {expected}",
        where=f"{source}:{line}",
        fix='quote a value that holds the separator or a line break: "…"',
    )
