"""Many processes make of records what one makes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from anima_core.contracts import Record
from anima_core.data.chunks import chunks
from anima_core.data.encoder import AT_ONCE, Encoder
from anima_core.data.handling import Handling
from anima_core.data.parallel import cores, encode_all
from anima_core.data.plain_values import told
from anima_core.data.store import Writer
from anima_core.data.tally import Tally
from anima_core.errors import DataError

Make = Callable[..., PreTrainedTokenizerFast]


def records(count: int) -> Iterator[Record]:
    """Records of which some cannot be used; they end with a failure to read on."""
    for line in range(1, count + 1):
        file = f"{line % 3}.jsonl"
        if line % 500 == 7:
            yield Record({"prompt": 3, "completion": "b"}, file, line)
        elif line % 500 == 8:
            fault = DataError("malformed JSON", where=f"{file}:{line}", fix="mend it")
            yield Record({}, file, line, fault)
        else:
            row = {"prompt": "question", "completion": "{{name}} " * (line % 30 + 1), "id": 1}
            yield Record(row, file, line)
    raise DataError("cut short", where="2.jsonl")


def made(encoder: Encoder, path: Path, workers: int, count: int = 900) -> tuple[Any, list[str]]:
    """Everything that comes of the records, and what was noted."""
    tally, notes = Tally(), list[str]()
    with Writer(path) as writer:
        parts = encode_all(records(count), encoder, notes.append, workers=workers, first=1)
        try:
            for packed, counted in parts:
                writer.write(packed)
                tally.merge(counted)
        except DataError as error:
            notes.append(error.what)
    return (path.read_bytes(), writer.files, told(tally, writer.files)), notes


@pytest.fixture
def encoder(make_tokenizer: Make, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    monkeypatch.setattr("anima_core.data.chunks._RECORDS", AT_ONCE)
    handling = Handling(skip_bad_records=True, fill={"name": "A"})
    return Encoder(make_tokenizer(), "completion", handling, 60, "truncate")


def test_two_processes_make_what_one_makes(encoder: Encoder, tmp_path: Path) -> None:
    alone, notes = made(encoder, tmp_path / "alone", 1)
    assert notes == ["cut short"]
    both, notes = made(encoder, tmp_path / "both", 2)
    assert notes == ["cut short"]
    assert both == alone
    assert alone[2]["records"] == 900
    assert alone[2]["faults"]["total"] == 4
    assert alone[2]["lengths"]["truncated"]


def test_a_tokenizer_that_cannot_be_copied_is_used_where_it_is(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, _ = made(encoder, tmp_path / "alone", 1, 300)
    monkeypatch.setattr(encoder, "lock", threading.Lock(), raising=False)
    here, (note, _) = made(encoder, tmp_path / "here", 2, 300)
    assert here == alone
    assert note.startswith("records are encoded on one core: the tokenizer cannot be copied")


SCRIPT = """
import sys
from anima_core.contracts import Record
from anima_core.data import parallel
from anima_core.data.parallel import encode_all, refuse_unguarded
from anima_core.data.tally import Tally

refuse_unguarded()

class Encoder:
    special = ()
    def encode(self, records):
        from anima_core.data.encoder import Encoded
        return Encoded([], Tally(len(records)))

notes = []
made = encode_all(
    (Record({}, "a", n) for n in range(3000)), Encoder(), notes.append, workers=2, first=1
)
print(sum(tally.records for _, tally in made), *notes)
"""


def test_a_script_without_a_guard_is_served_by_one_process(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    ran = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True
    )
    assert ran.stdout.startswith("3000 records are encoded on one core")
    assert ran.stdout.count("__main__") == 1


def test_chunks_are_as_long_as_their_records_allow() -> None:
    short = [Record({"text": "a"}, "x", n) for n in range(2100)]
    assert [len(chunk) for chunk in chunks(short)] == [1024, 1024, 52]
    text = "a" * 2**21
    long = [Record({"messages": [{"role": "user", "content": text}]}, "x", n) for n in range(5)]
    assert [len(chunk) for chunk in chunks(long)] == [2, 2, 1]


def test_processes_of_a_run_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(12), raising=False)
    assert cores() == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert cores() == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "40")
    assert cores() == 1
