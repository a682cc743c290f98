from __future__ import annotations

import csv
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from anima_core.contracts import Record
from anima_core.data.read import Files, read_sources
from anima_core.errors import DataError
from anima_core.strategy import NoOptions

ROWS = [{"prompt": "a", "completion": "b"}, {"prompt": "你好", "completion": "c\nd"}]


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def read(*sources: str) -> list[Record]:
    return list(read_sources(sources))


def refused(source: str) -> DataError:
    with pytest.raises(DataError) as caught:
        read(source)
    return caught.value


def fault(source: str) -> DataError:
    """The fault of the last record."""
    record = read(source)[-1]
    assert (record.fields, record.file) == ({}, source)
    assert record.fault is not None
    return record.fault


def test_json_list(tmp_path: Path) -> None:
    source = write(tmp_path / "a.json", json.dumps(ROWS, indent=2))
    assert read(source) == [Record(row, source, n) for n, row in enumerate(ROWS, 1)]


@pytest.mark.parametrize("indent", [None, 2])
def test_json_objects_one_after_another(tmp_path: Path, indent: int | None) -> None:
    text = "\n".join(json.dumps(row, indent=indent) for row in ROWS)
    assert [r.fields for r in read(write(tmp_path / "a.json", text))] == ROWS


def test_jsonl_knows_its_lines(tmp_path: Path) -> None:
    text = "\ufeff" + json.dumps(ROWS[0]) + "\n\n  \n" + json.dumps(ROWS[1])
    source = write(tmp_path / "a.jsonl", text)
    assert read(source) == [Record(ROWS[0], source, 1), Record(ROWS[1], source, 4)]


def test_a_unicode_line_separator_is_no_line_end(tmp_path: Path) -> None:
    row = {"prompt": "a\u2028b\x85c"}
    source = write(tmp_path / "a.jsonl", json.dumps(row, ensure_ascii=False) + "\n")
    assert read(source) == [Record(row, source, 1)]


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t"), ("A.CSV", ",")])
def test_tables_know_the_line_where_a_row_begins(tmp_path: Path, name: str, delimiter: str) -> None:
    path = tmp_path / name
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerow(["prompt", "completion"])
        writer.writerow(["a", 'two\nlines, quoted\t"'])
        stream.write("\n")
        writer.writerow(["你好", "c"])
    assert read(str(path)) == [
        Record({"prompt": "a", "completion": 'two\nlines, quoted\t"'}, str(path), 2),
        Record({"prompt": "你好", "completion": "c"}, str(path), 5),
    ]


def test_a_long_cell_and_the_limit_afterwards(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    source = write(tmp_path / "a.csv", "prompt,completion\n" + "x" * 200_000 + ",b\n")
    assert len(read(source)[0].fields["prompt"]) == 200_000
    assert csv.field_size_limit() == before


def test_parquet_keeps_nested_values(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": str(n)}]} for n in range(1500)]
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    records = read(str(path))
    assert [r.fields for r in records] == rows
    assert [r.line for r in records] == list(range(1, 1501))


def test_sources_come_in_order_and_lazily(tmp_path: Path) -> None:
    first = write(tmp_path / "b.jsonl", json.dumps(ROWS[0]))
    second = write(tmp_path / "a.jsonl", json.dumps(ROWS[1]))
    stream = read_sources([first, second])
    assert next(stream).file == first
    Path(second).unlink()
    last = list(stream)
    assert [(r.file, r.line) for r in last] == [(second, 1)]
    assert "cannot be read: No such file" in str(last[0].fault)


def test_a_missing_source_is_told_before_any_is_read(tmp_path: Path) -> None:
    first = write(tmp_path / "b.jsonl", json.dumps(ROWS[0]))
    with pytest.raises(DataError, match="not found"):
        next(read_sources([first, str(tmp_path / "missing.jsonl")]))


def test_a_file_that_ends_early_does_not_end_the_sources(tmp_path: Path) -> None:
    first = write(tmp_path / "a.json", '[{"a": 1}, {"a"')
    second = write(tmp_path / "b.parquet", "no parquet")
    third = write(tmp_path / "c.jsonl", '{"a": 2}\nx\n{"a": 3}')
    found = [(r.file, r.line, r.fields, r.fault is None) for r in read(first, second, third)]
    assert found == [
        (first, 1, {"a": 1}, True),
        (first, 2, {}, False),
        (second, 1, {}, False),
        (third, 1, {"a": 2}, True),
        (third, 2, {}, False),
        (third, 3, {"a": 3}, True),
    ]


@pytest.mark.parametrize(
    ("name", "content", "where", "what"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": }\n', ":2:7", "Expecting value"),
        ("a.jsonl", '{"a":\n', ":1:6", "Expecting value"),
        ("a.jsonl", '{"a": "b\n', ":1:7", "Unterminated string"),
        ("a.jsonl", '\n{\n"a": 1\n}\n', ":2", "looks like JSON that runs over several lines"),
        ("a.jsonl", '{"a": ' + "1" * 5000 + "}", ":1", "4300"),
        (
            "a.jsonl",
            '{"a": {"b": ["x\\ud83d"]}}',
            ":1",
            "'a.b.0' holds half of a character: \\ud83d",
        ),
        ("a.jsonl", '{"a": "\0"}', ":1", "NUL byte"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16-le"), ":1", "looks like UTF-16"),
        ("a.jsonl", b"\x1f\x8b\x08\x00abc", "", "looks like gzip"),
        ("a.jsonl", '"text"', ":1", "found text"),
        ("a.jsonl", '{"a": 1}\n[1]\n', ":2", "found a list"),
        ("a.jsonl", "\n\n", "", "no records"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xe9"}\n', ":2", "byte 0xe9 is not UTF-8"),
        ("a.json", '[\n {"a": 1},\n {"a" 2}\n]', ":3:7", "Expecting ':' delimiter"),
        ("a.json", '[{"a": 1} {"a": 2}]', ":1:11", "expected ',' or ']'"),
        ("a.json", '[{"a": 1},]', ":1:11", "Expecting value"),
        ("a.json", '[{"a": 1}', ":1:10", "expected ',' or ']'"),
        ("a.json", '[{"a": 1}]\n]', ":2:1", "text after the end"),
        ("a.json", '{"a": 1}\n{"a"\n', ":3:1", "Expecting ':' delimiter"),
        ("a.json", '[{"a": 1}, "x"]', ":2 (record number)", "found text"),
        ("a.json", "[null]", ":1 (record number)", "found null"),
        ("a.json", "[" * 100_000, ":1:2", "nested too deeply"),
        ("a.json", "", "", "no records"),
        ("a.json", "[]", "", "no records"),
        ("a.json", b'[\n{"a": "\xff"}]', ":2:8", "byte 0xff is not UTF-8"),
        ("a.json", b'[\n{"a": \xff}]', ":2:7", "byte 0xff is not UTF-8"),
        ("a.json", '[{"a": "\0"}]', ":1:9", "NUL byte"),
        ("a.json", '[{"a": "\\udc00"}]', ":1 (record number)", "half of a character"),
        ("a.json", "[" + "1" * 5000 + "]", ":1:2", "4300"),
        ("a.json", '[{"a": 1}]'.encode("utf-16"), ":1", "looks like UTF-16"),
        ("a.csv", "", "", "no records"),
        ("a.csv", "prompt,completion\n", "", "no records"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", ":3", "3 columns where the header has 2"),
        ("a.csv", 'a,b\n1,"2"x\n', ":2", "malformed table: ',' expected after"),
        ("a.csv", 'a,b\n1,"2\n3,4\n', ":2", "not closed (the row runs to line 3)"),
        ("a.csv", "a,b\r1,2\r", ":1", "carriage return"),
        ("a.csv", "a;b\n1;2\n", ":1", "semicolons separate nothing here"),
        ("a.tsv", "a,b\n1,2\n", ":1", "commas separate nothing here"),
        ("a.csv", "a,b\n1,\0\n", ":2", "NUL byte"),
        ("a.csv", "a,a\n1,2\n", ":1", "names a column 'a' twice"),
        ("a.csv", "a,\n1,2\n", ":1", "a column has no name"),
        ("a.csv", b"a,b\n1,2\n\xe9,2\n", ":3", "byte 0xe9"),
        ("a.parquet", "not parquet", "", "cannot be read as parquet"),
        ("a.arrow", "not arrow", "", "cannot be read as arrow"),
        ("a.feather", "FEA1 and more", "", "feather file of version 1"),
        ("a.txt", b"one\ntw\xf6\n", ":2", "byte 0xf6 is not UTF-8"),
        ("a.txt", "one\n\0\n", ":2", "NUL byte"),
        ("a.txt", " \n", "", "no records"),
        ("a.txt", b"PK\x03\x04", "", "looks like zip"),
    ],
)
def test_malformed_files_say_where(
    tmp_path: Path, name: str, content: str | bytes, where: str, what: str
) -> None:
    source = write(tmp_path / name, content)
    error = fault(source)
    assert error.where == source + where
    assert what in error.what
    assert error.exit_code == 3


@pytest.mark.parametrize("name", ["x.jsonl", "./x", "data/deep/x", "/no/such/x", "~/no-such-x"])
def test_a_path_that_is_missing_is_no_hub_id(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "file not found" in refused(name).what


def test_a_missing_file_suggests_a_near_one(tmp_path: Path) -> None:
    near = write(tmp_path / "alpaca.jsonl", "{}")
    assert refused(str(tmp_path / "alpace.jsonl")).fix == f"did you mean {near}?"


@pytest.mark.parametrize("name", ["a.bin", "noname", "a.parquet.gz"])
def test_a_file_of_an_unknown_kind_is_refused(tmp_path: Path, name: str) -> None:
    what = refused(write(tmp_path / name, "x")).what
    assert what.startswith(("cannot tell what kind", ".parquet is read as it is, not inside"))


@pytest.mark.parametrize("source", ["foo bar", "a" * 5000, "a@b@c", "a:b:c"])
def test_what_is_no_name_of_anything(source: str) -> None:
    what = refused(source).what
    assert what.startswith(("is neither a file nor the name", "cannot be read: File name too"))


def test_plain_text_is_one_record(tmp_path: Path) -> None:
    source = write(tmp_path / "a.txt", "\ufeffone\r\ntwo\n\n你好\n")
    assert read(source) == [Record({"text": "one\ntwo\n\n你好\n"}, source, 1)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_windows_line_ends_and_a_mark(tmp_path: Path, name: str) -> None:
    text = "a,b\r\n1,2\r\n" if name == "a.csv" else '{"a": "1", "b": "2"}\r\n'
    source = write(tmp_path / name, "\ufeff" + text + text.splitlines()[-1] + "\r\n")
    assert [r.fields for r in read(source)] == [{"a": "1", "b": "2"}] * 2


def test_joined_files_keep_their_marks(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", '\ufeff{"a": 1}\n\ufeff{"a": 2}\n')
    assert [r.fields for r in read(source)] == [{"a": 1}, {"a": 2}]


def test_every_bad_line_is_told_in_one_pass(tmp_path: Path) -> None:
    bad = ["{", "nul", '{"a"}', "[1]", "3", '"x"', '{"a": "\0"}', "\udcff", '{"a": 1}}', "{'a': 1}"]
    rows = [f'{{"a": {n}}}' for n in range(3000)]
    rows[50::60] = (bad * 5)[: len(rows[50::60])]
    text = "\n".join(rows).encode("utf-8", "surrogateescape")
    records = read(write(tmp_path / "a.jsonl", text))
    assert [r.line for r in records] == list(range(1, 3001))
    assert [r.line for r in records if r.fault] == list(range(51, 3001, 60))
    assert [r.fields for r in records if not r.fault] == [
        {"a": n} for n in range(3000) if n % 60 != 50
    ]


def test_the_strategy_reads_and_imports_nothing_heavy(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", json.dumps(ROWS[0]))
    files = Files(NoOptions())
    assert [r.fields for r in files.read_data(None, [source])] == ROWS[:1]  # type: ignore[arg-type]
    code = (
        "import sys, anima_core.data.read\n"
        "print([m for m in ('torch', 'transformers', 'datasets', 'pyarrow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": "', '"}\n{"a": 2}\n'),
        ("a.json", '{"a": 1}\n{"a": "', '"}\n{"a": 2}\n'),
        ("a.csv", "a\n1\n", "\n2\n"),
    ],
)
def test_a_line_of_100_mb_is_refused_in_bounded_memory(
    tmp_path: Path, name: str, before: str, after: str
) -> None:
    source = tmp_path / name
    with source.open("w") as stream:
        stream.write(before)
        stream.writelines("x" * 2**20 for _ in range(100))
        stream.write(after)
    tracemalloc.start()
    try:
        first, bad, last = read(str(source))
        assert tracemalloc.get_traced_memory()[1] < 240 * 2**20
    finally:
        tracemalloc.stop()
    assert (str(first.fields["a"]), str(last.fields["a"])) == ("1", "2")
    assert bad.fault is not None
    assert "is longer than 64 MiB" in bad.fault.what
    assert bad.fault.where.startswith(f"{source}:{3 if name == 'a.csv' else 2}")
