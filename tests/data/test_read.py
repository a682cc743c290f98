from __future__ import annotations

import csv
import json
import subprocess
import sys
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
    stream = read_sources([first, str(tmp_path / "missing.jsonl")])
    assert next(iter(stream)).file == first
    with pytest.raises(DataError, match="not found"):
        next(iter(stream))


@pytest.mark.parametrize(
    ("name", "content", "where", "what"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": }\n', ":2:7", "Expecting value"),
        ("a.jsonl", '{"a":\n1}\n', ":1", "malformed JSON"),
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
        ("a.json", b'[\n{"a": "\xff"}]', ":2", "byte 0xff is not UTF-8"),
        ("a.json", '[{"a": 1}]'.encode("utf-16"), ":1", "looks like UTF-16"),
        ("a.csv", "", "", "no records"),
        ("a.csv", "prompt,completion\n", "", "no records"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", ":3", "3 columns where the header has 2"),
        ("a.csv", 'a,b\n1,"2"x\n', ":2", "malformed table"),
        ("a.csv", "a,a\n1,2\n", ":1", "names a column 'a' twice"),
        ("a.csv", "a,\n1,2\n", ":1", "a column has no name"),
        ("a.csv", b"a,b\n1,2\n\xe9,2\n", ":3", "byte 0xe9"),
        ("a.parquet", "not parquet", "", "cannot be read as parquet"),
        ("a.txt", "hello", "", "cannot tell what kind of file .txt is"),
    ],
)
def test_malformed_files_say_where(
    tmp_path: Path, name: str, content: str | bytes, where: str, what: str
) -> None:
    source = write(tmp_path / name, content)
    error = refused(source)
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


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is a folder" in refused(str(tmp_path)).what


@pytest.mark.parametrize("source", ["some-owner/some-set.v1", "squad"])
def test_other_names_go_to_the_hub(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(name: str, split: str) -> list[dict[str, str]]:
        asked.append((name, split))
        return ROWS

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert read(source) == [Record(row, source, n) for n, row in enumerate(ROWS, 1)]
    assert asked == [(source, "train")]


def test_hub_failures_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    cases = [
        (ConnectionError("Couldn't reach it\nmore"), "the hub cannot be reached"),
        (datasets.exceptions.DatasetNotFoundError("no"), "neither a file here nor a data set"),
        (ValueError("Config name is missing."), "Config name is missing"),
        (RuntimeError("Dataset scripts are no longer supported"), "scripts are no longer"),
    ]
    for error, what in cases:

        def fail(name: str, split: str, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(datasets, "load_dataset", fail)
        assert what in refused("owner/set").what
    assert "neither a file nor the name" in refused("foo bar").what


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
