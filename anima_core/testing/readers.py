"""Check of a reader: records that know their place, in order, and refusals that name it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import SkipTest

from anima_core.contracts import Record
from anima_core.errors import DataError
from anima_core.testing.context import run_context
from anima_core.testing.instances import call

Read = Callable[..., Iterable[Record]]

ROWS = tuple(
    {"prompt": f"Say {number}", "completion": "one " * (number + 1)} for number in range(3)
)


def check_reader(
    read: Read, sources: Sequence[str] | None = None, bad: Sequence[str] | None = None
) -> None:
    """A reader's records know where they came from, and what it cannot read is named.

    1. Each record has fields, the source it came from, and its line, counted from 1 and growing.
    2. Sources are read in the order in which they are named, each as it is read alone.
    3. A file with a broken line is a `DataError` (raised, or the `fault` of a record) that names
       file and line; a file that is not there is one that names the file.

    Args:
        read: the hook, bound: ``strategy.read_data``.
        sources: two or more sources that it reads; jsonl files, where it reads such, when None.
        bad: sources with one broken record each; a jsonl file when None.

    Raises:
        AssertionError: saying which of these does not hold.
        unittest.SkipTest: it refuses jsonl, and nothing else was given.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = sources is None
        if sources is None:
            sources = _written(folder)
            bad = bad or [str(_broken(folder))]
            _skip_unless_read(read, sources)
        alone = [_records(read, [source]) for source in sources]
        for source, records in zip(sources, alone, strict=True):
            _check_places(source, records)
        if own:
            _check_fields(alone)
        _check_order(read, sources, alone)
        for source in bad or ():
            _check_refused(read, source, line=2 if own else None)
        _check_refused(read, str(folder / "absent.jsonl"), line=None)


def _written(folder: Path) -> list[str]:
    paths = []
    for name, rows in (("b-first.jsonl", ROWS[:2]), ("a-second.jsonl", ROWS[2:])):
        path = folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        paths.append(str(path))
    return paths


def _broken(folder: Path) -> Path:
    path = folder / "broken.jsonl"
    good = json.dumps(ROWS[0])
    path.write_text(f'{good}\n{{"prompt": "unfinished\n{good}\n', encoding="utf-8")
    return path


def _skip_unless_read(read: Read, sources: Sequence[str]) -> None:
    try:
        _records(read, sources)
    except DataError as error:
        raise SkipTest(
            f"it reads no jsonl ({error.what}); call check_reader with sources of its own"
        ) from error


def _records(read: Read, sources: Sequence[str]) -> list[Record]:
    return list(call(read, run=run_context(data=tuple(sources)), sources=list(sources)))


def _check_places(source: str, records: Sequence[Any]) -> None:
    assert records, f"{source} gives no records"
    last = 0
    for number, record in enumerate(records, 1):
        assert isinstance(record, Record), f"record {number} is a {type(record).__name__}"
        if record.fault is not None:
            raise AssertionError(f"a record of a sound file has a fault: {record.fault}")
        fields: Any = record.fields
        assert isinstance(fields, Mapping) and fields, f"record {number} has no fields"  # noqa: PT018
        strange = [key for key in fields if not isinstance(key, str)]
        assert not strange, f"record {number} has fields that are no names: {strange}"
        assert Path(record.file).name == Path(source).name, (
            f"record {number} says that it is from {record.file!r}, not from {source!r}"
        )
        line: Any = record.line
        assert isinstance(line, int), f"record {number} has the line {line!r}"
        assert line > last, f"record {number} has line {line}, after {last}; lines count from 1"
        last = line


def _check_fields(alone: Sequence[Sequence[Record]]) -> None:
    lines = [record.line for records in alone for record in records]
    assert lines == [1, 2, 1], f"the lines are {lines}, not [1, 2, 1]"
    for record, row in zip((r for records in alone for r in records), ROWS, strict=True):
        assert dict(record.fields) == row, f"the fields of {row} came as {dict(record.fields)}"


def _check_order(read: Read, sources: Sequence[str], alone: Sequence[Sequence[Record]]) -> None:
    for order in ([*range(len(sources))], [*reversed(range(len(sources)))]):
        together = _records(read, [sources[index] for index in order])
        expected = [record for index in order for record in alone[index]]
        assert together == expected, (
            "sources read together do not give their records in the order they were named"
        )


def _check_refused(read: Read, source: str, line: int | None) -> None:
    name = Path(source).name
    try:
        faults = [record.fault for record in _records(read, [source]) if record.fault is not None]
    except DataError as error:
        faults = [error]
    except Exception as other:
        what = f"{name} must raise DataError, not {type(other).__name__}: {other}"
        raise AssertionError(what) from other
    assert faults, f"{name} cannot be read as it is, and nothing was said"
    said = str(faults[0])
    assert name in said, f"the error for {name} does not name it: {said}"
    if line is not None:
        place = re.search(rf"\b{line}\b", said.rpartition(name)[2])
        assert place, f"the error for {name} does not name its line {line}: {said}"
