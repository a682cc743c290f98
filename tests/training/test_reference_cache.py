"""What is kept of reference log-probs is used whole, unharmed and for the same facts, or not."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from anima_core.training.reference_cache import FILE, HEADER, PartWriter, ReferenceEntry
from anima_core.training.reference_near import cached_otherwise

STARTS = np.array([0, 2, 3, 6])
LOGPS = -torch.arange(1.0, 7.0)
VALUES = {0: LOGPS[0:2], 1: LOGPS[2:3], 2: LOGPS[3:6]}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANIMA_CACHE", str(tmp_path))
    return tmp_path / "reference"


@pytest.fixture
def entry() -> ReferenceEntry:
    return ReferenceEntry({"data": "d", "model": "m"}, STARTS)


def test_what_is_written_is_read(entry: ReferenceEntry) -> None:
    assert entry.read() is None
    entry.write(LOGPS)
    again = ReferenceEntry({"model": "m", "data": "d"}, STARTS)
    found = again.read()
    assert found is not None
    assert torch.equal(found, LOGPS)


def test_other_facts_are_another_entry(entry: ReferenceEntry) -> None:
    entry.write(LOGPS)
    for facts in ({"data": "d", "model": "n"}, {"data": "d"}, {"data": "d", "model": "m", "x": 1}):
        assert ReferenceEntry(facts, STARTS).read() is None


def _spoiled(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def _other_facts(folder: Path) -> None:
    header = json.loads((folder / HEADER).read_text())
    header["facts"]["data"] = "another"
    (folder / HEADER).write_text(json.dumps(header))


def _half(folder: Path) -> None:
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:40])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: _spoiled(folder / FILE, -1),
        lambda folder: _spoiled(folder / FILE, 0),
        lambda folder: (folder / HEADER).unlink(),
        lambda folder: (folder / FILE).unlink(),
        lambda folder: (folder / HEADER).write_text("{"),
        lambda folder: (folder / HEADER).write_text("{}"),
        lambda folder: (folder / HEADER).write_text("[]"),
        _other_facts,
        _half,
    ],
)
def test_a_damaged_or_foreign_entry_is_not_believed(
    entry: ReferenceEntry, spoil: Callable[[Path], None]
) -> None:
    entry.write(LOGPS)
    spoil(entry.folder)
    with pytest.raises(ValueError, match=r"."):
        entry.read()
    entry.drop()
    assert entry.read() is None
    entry.write(LOGPS)
    assert entry.read() is not None


def test_an_entry_of_other_lengths_is_not_believed(entry: ReferenceEntry) -> None:
    entry.write(LOGPS[:5])
    with pytest.raises(ValueError, match="5"):
        entry.read()


def test_parts_add_up_and_go_once_the_whole_is_there(entry: ReferenceEntry, root: Path) -> None:
    entry.write_part({2: VALUES[2]})
    entry.write_part({0: VALUES[0], 1: VALUES[1]})
    found, damaged = ReferenceEntry(entry.facts, STARTS).read_parts()
    assert damaged == 0
    assert sorted(found) == [0, 1, 2]
    assert all(torch.equal(found[row], VALUES[row]) for row in found)
    entry.write(LOGPS)
    assert [path.name for path in root.iterdir()] == [entry.folder.name]


def test_the_facts_of_an_entry_lead_to_it_again(entry: ReferenceEntry) -> None:
    """Facts that went through JSON are the same facts."""
    assert ReferenceEntry(entry.facts, STARTS).key == entry.key


@pytest.mark.parametrize("place", [-1, -20, 9, 0])
def test_a_damaged_part_is_removed(entry: ReferenceEntry, place: int) -> None:
    entry.write_part({0: VALUES[0]})
    (file,) = entry.parts.iterdir()
    _spoiled(file, place)
    entry.write_part({1: VALUES[1]})
    found, damaged = entry.read_parts()
    assert damaged == 1
    assert list(found) == [1]
    assert not file.exists()


def test_a_part_of_something_else_is_removed(entry: ReferenceEntry) -> None:
    other = ReferenceEntry({"data": "other"}, STARTS)
    other.write_part(VALUES)
    (file,) = other.parts.iterdir()
    entry.parts.mkdir()
    file.rename(entry.parts / file.name)
    assert entry.read_parts() == ({}, 1)


def test_a_half_written_part_is_no_part(entry: ReferenceEntry) -> None:
    entry.parts.mkdir(parents=True)
    (entry.parts / ".half").write_bytes(b"")
    assert entry.read_parts() == ({}, 0)


def test_a_writer_keeps_what_it_has_every_so_often_and_on_an_error(entry: ReferenceEntry) -> None:
    with PartWriter(entry, seconds=0.0) as parts:
        parts.add({0: VALUES[0]})
    assert list(entry.read_parts()[0]) == [0]

    def fail() -> None:
        with PartWriter(entry, seconds=1e6) as parts:
            parts.add({1: VALUES[1]})
            parts.add({2: VALUES[2]})
            assert list(entry.read_parts()[0]) == [0]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert sorted(entry.read_parts()[0]) == [0, 1, 2]


def test_what_nobody_uses_goes(entry: ReferenceEntry) -> None:
    entry.write(LOGPS)
    other = ReferenceEntry({"data": "other"}, STARTS)
    other.write_part(VALUES)
    long_ago = time.time() - 31 * 86400
    for path in (entry.folder / HEADER, entry.folder, other.parts):
        os.utime(path, (long_ago, long_ago))
    third = ReferenceEntry({"data": "third"}, STARTS)
    third.write(LOGPS)
    assert not entry.folder.exists()
    assert not other.parts.exists()
    assert third.read() is not None


def test_entries_that_tell_nothing_are_passed_over(entry: ReferenceEntry, root: Path) -> None:
    """They may be of another release, or damaged: what is said of the cache is but a courtesy."""
    assert cached_otherwise(entry) == ""
    entry.write(LOGPS)
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"facts": {"model": "m"}, "told": {}}')):
        (root / name).mkdir()
        (root / name / HEADER).write_text(text)
    told = {"part": "p", "sources": ["s"]}
    facts = {"data": "d", "model": "m", "dtype": "float32", "strategies": {}}
    assert cached_otherwise(ReferenceEntry(facts, STARTS, told)) == ""
    ReferenceEntry({**facts, "dtype": "bfloat16"}, STARTS, told).write(LOGPS)
    assert cached_otherwise(ReferenceEntry(facts, STARTS, told)) == "--dtype bfloat16, not float32"
