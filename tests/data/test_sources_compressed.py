from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow
import pytest

from anima_core.data.place import place
from anima_core.data.read import read_sources

ROWS = [{"prompt": f"question {n}", "completion": "你好 " * (n % 5)} for n in range(5000)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CSV = ("prompt,completion\n" + "".join(f"{r['prompt']},{r['completion']}\n" for r in ROWS)).encode()


def zstd(raw: bytes) -> bytes:
    return bytes(pyarrow.compress(raw, codec="zstd", asbytes=True))


PACK: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstd}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.jsonl", JSONL),
        ("a.ndjson", JSONL),
        ("a.json", json.dumps(ROWS, ensure_ascii=False).encode()),
        ("a.csv", CSV),
        ("A.TSV", CSV.replace(b",", b"\t")),
    ],
)
def test_textual_files_are_unpacked(tmp_path: Path, suffix: str, name: str, raw: bytes) -> None:
    path = tmp_path / (name + suffix)
    path.write_bytes(PACK[suffix](raw))
    records = list(read_sources([str(path)]))
    assert [r.fields for r in records] == ROWS
    assert records[0].line == (2 if "CSV" in name.upper() or "TSV" in name else 1)


@pytest.mark.parametrize("suffix", PACK)
def test_text_is_unpacked(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("a.txt" + suffix)
    path.write_bytes(PACK[suffix](b"one\ntwo"))
    assert [r.fields for r in read_sources([str(path)])] == [{"text": "one\ntwo"}]


@pytest.mark.parametrize("suffix", PACK)
def test_several_frames_are_one_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("a.jsonl" + suffix)
    path.write_bytes(PACK[suffix](JSONL) + PACK[suffix](JSONL))
    assert [r.fields for r in read_sources([str(path)])] == ROWS * 2


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("kind", [".jsonl", ".json", ".csv", ".txt"])
def test_what_is_damaged_is_one_fault_at_the_end(tmp_path: Path, suffix: str, kind: str) -> None:
    raw = {".json": json.dumps(ROWS).encode(), ".csv": CSV}.get(kind, JSONL)
    path, after = tmp_path / f"a{kind}{suffix}", tmp_path / "b.jsonl"
    packed = PACK[suffix](raw)
    path.write_bytes(packed[: len(packed) * 3 // 4])
    after.write_text('{"a": 1}')
    *before, last, following = read_sources([str(path), str(after)])
    assert following.fields == {"a": 1}
    assert [r.fields for r in before] == ROWS[: len(before)]
    assert last.fault is not None
    assert (last.fault.where, last.fault.exit_code) == (str(path), 3)
    assert "cannot be decompressed" in last.fault.what
    assert "cut short" in last.fault.fix
    assert last.fault.what.endswith("nothing behind that place was read")


@pytest.mark.parametrize("suffix", PACK)
def test_what_is_not_packed_is_said_to_be_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("a.jsonl" + suffix)
    path.write_bytes(JSONL)
    (record,) = read_sources([str(path)])
    assert "not compressed as its name says" in str(record.fault)


@pytest.mark.parametrize("suffix", PACK)
def test_no_file_is_left_open(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("a.jsonl" + suffix)
    path.write_bytes(PACK[suffix](JSONL))
    list(read_sources([str(path)]))
    stream = read_sources([str(path)])
    next(stream)
    stream.close()
    assert not [f for f in psutil.Process().open_files() if f.path == str(path)]


def test_places_in_packed_files_are_lines() -> None:
    assert place("a.jsonl.gz", 3) == "a.jsonl.gz:3"
    assert place("a.CSV.zst", 3) == "a.CSV.zst:3"
    assert place("a.json.gz", 3) == "a.json.gz:3 (record number)"
    assert place("a.txt", 1) == "a.txt"
