from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from anima_core.contracts import Record
from anima_core.data.plain import is_plain, plain
from anima_core.data.read import read_sources

Write = Callable[[pyarrow.Table, Path], None]


def parquet(table: pyarrow.Table, path: Path) -> None:
    pyarrow.parquet.write_table(table, path, row_group_size=500)


def ipc_file(table: pyarrow.Table, path: Path) -> None:
    with pyarrow.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=500)


def ipc_stream(table: pyarrow.Table, path: Path) -> None:
    with pyarrow.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=500)


def feather(table: pyarrow.Table, path: Path) -> None:
    pyarrow.feather.write_feather(table, path, compression="zstd")


KINDS: dict[str, tuple[str, Write]] = {
    "parquet": ("a.parquet", parquet),
    "file": ("a.arrow", ipc_file),
    "stream": ("a.arrow", ipc_stream),
    "feather": ("a.feather", feather),
}


def read(tmp_path: Path, table: pyarrow.Table, kind: str = "parquet") -> list[Record]:
    name, write = KINDS[kind]
    write(table, tmp_path / name)
    return list(read_sources([str(tmp_path / name)]))


def one(tmp_path: Path, kind: pyarrow.DataType, value: Any) -> Any:
    """What one value of a type becomes."""
    table = pyarrow.table({"x": pyarrow.array([value], kind)})
    (record,) = read(tmp_path, table, "file")
    assert record.fault is None
    json.dumps(record.fields)
    return record.fields["x"]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_read_in_order(tmp_path: Path, kind: str) -> None:
    rows = [{"messages": [{"role": "user", "content": str(n)}], "n": n} for n in range(1300)]
    records = read(tmp_path, pyarrow.Table.from_pylist(rows), kind)
    assert [r.fields for r in records] == rows
    assert [r.line for r in records] == list(range(1, 1301))


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_one_fault_at_the_end(tmp_path: Path, kind: str) -> None:
    name, write = KINDS[kind]
    path = tmp_path / name
    write(pyarrow.table({"n": list(range(3000)), "t": ["x" * 50] * 3000}), path)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    *before, last = read_sources([str(path)])
    assert [r.fields["n"] for r in before] == list(range(len(before)))
    assert last.fault is not None
    assert "cannot be read as" in last.fault.what
    assert last.fault.where == str(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_rows_holds_no_records(tmp_path: Path, kind: str) -> None:
    (record,) = read(tmp_path, pyarrow.table({"a": pyarrow.array([], pyarrow.string())}), kind)
    assert "holds no records" in str(record.fault)


DAY = datetime.datetime(2024, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (pyarrow.null(), None, None),
        (pyarrow.string(), None, None),
        (pyarrow.bool_(), True, True),
        (pyarrow.uint8(), 200, 200),
        (pyarrow.float32(), 0.5, 0.5),
        (pyarrow.large_string(), "a", "a"),
        (pyarrow.string_view(), "a", "a"),
        (pyarrow.binary(), b"caf\xc3\xa9", "café"),
        (pyarrow.binary(), b"caf\xe9", {"type": "binary", "bytes": 4}),
        (pyarrow.binary(2), b"ab", "ab"),
        (pyarrow.date32(), DAY.date(), "2024-02-03"),
        (pyarrow.timestamp("us"), DAY.replace(tzinfo=None), "2024-02-03T04:05:06"),
        (pyarrow.timestamp("ns", tz="UTC"), DAY, "2024-02-03T04:05:06+00:00"),
        (pyarrow.time64("us"), DAY.time(), "04:05:06"),
        (pyarrow.duration("s"), datetime.timedelta(minutes=2), 120.0),
        (pyarrow.decimal128(10, 2), decimal.Decimal("1.50"), 1.5),
        (
            pyarrow.decimal128(30, 1),
            decimal.Decimal("12345678901234567890.0"),
            12345678901234567890,
        ),
        (pyarrow.list_(pyarrow.date32()), [DAY.date(), None], ["2024-02-03", None]),
        (pyarrow.struct({"a": pyarrow.binary()}), {"a": b"x"}, {"a": "x"}),
        (pyarrow.map_(pyarrow.string(), pyarrow.int8()), [("a", 1), ("b", 2)], {"a": 1, "b": 2}),
        (pyarrow.map_(pyarrow.int8(), pyarrow.int8()), [(1, 2)], {"1": 2}),
        (pyarrow.map_(pyarrow.string(), pyarrow.date32()), [], {}),
        (pyarrow.month_day_nano_interval(), (1, 2, 3), {"type": "MonthDayNano"}),
    ],
)
def test_other_types_become_plain_values(
    tmp_path: Path, kind: pyarrow.DataType, value: Any, expected: Any
) -> None:
    found = one(tmp_path, kind, value)
    assert found == expected
    assert type(found) is type(expected)


def test_a_category_is_its_text(tmp_path: Path) -> None:
    table = pyarrow.table({"x": pyarrow.array(["a", "b", "a"]).dictionary_encode()})
    assert [r.fields["x"] for r in read(tmp_path, table)] == ["a", "b", "a"]


def test_what_is_plain_is_told_from_the_type() -> None:
    text = pyarrow.string()
    assert is_plain(pyarrow.list_(pyarrow.struct({"a": text, "b": pyarrow.int8()})))
    assert not is_plain(pyarrow.list_(pyarrow.struct({"a": text, "b": pyarrow.binary()})))
    assert not is_plain(pyarrow.map_(text, text))
    assert not is_plain(pyarrow.decimal128(3))
    assert plain(object()) == {"type": "object"}


def bad_text(values: list[bytes]) -> pyarrow.Array:
    """A text column that holds what is no UTF-8, as some writers leave it."""
    raw = pyarrow.array(values, pyarrow.binary())
    return pyarrow.Array.from_buffers(pyarrow.string(), len(raw), raw.buffers())


@pytest.mark.parametrize("kind", ["parquet", "file"])
def test_a_value_that_cannot_be_read_is_its_rows_fault(tmp_path: Path, kind: str) -> None:
    values = [b"good"] * 600
    values[3] = values[400] = b"caf\xe9"
    records = read(tmp_path, pyarrow.table({"n": list(range(600)), "t": bad_text(values)}), kind)
    assert [r.line for r in records if r.fault] == [4, 401]
    assert [r.fields["n"] for r in records if not r.fault] == [
        n for n in range(600) if n not in (3, 400)
    ]
    fault = records[3].fault
    assert fault is not None
    assert "column 't' of type string holds what cannot be read: 'utf-8' codec" in fault.what
    assert fault.where.endswith(":4 (record number)")


def test_a_date_beyond_the_calendar_is_its_rows_fault(tmp_path: Path) -> None:
    days = pyarrow.array([0, 2**40], pyarrow.int64()).cast(pyarrow.timestamp("s"))
    good, bad = read(tmp_path, pyarrow.table({"t": days}), "file")
    assert good.fields == {"t": "1970-01-01T00:00:00"}
    assert "column 't' of type timestamp[s]" in str(bad.fault)


def test_a_map_with_a_name_twice_is_its_rows_fault(tmp_path: Path) -> None:
    kind = pyarrow.map_(pyarrow.string(), pyarrow.int8())
    maps = pyarrow.array([[("a", 1)], [("a", 1), ("a", 2)]], kind)
    good, bad = read(tmp_path, pyarrow.table({"m": maps}), "file")
    assert good.fields == {"m": {"a": 1}}
    assert "column 'm' of type map<string, int8>" in str(bad.fault)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], ["a", "a"])
    (record,) = read(tmp_path, table)
    assert "two columns named 'a'" in str(record.fault)
