"""The check of readers passes the core's, and names each planted defect."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from unittest import SkipTest

import pytest

from anima_core import DataError, NoOptions, Record
from anima_core.data.read import Files
from anima_core.testing import check_reader


def core(run, sources):
    return Files(NoOptions()).read_data(run, sources)


def test_the_cores_passes():
    check_reader(core)


def test_its_own_sources_can_be_given(tmp_path):
    def words(sources):
        for source in sources:
            path = Path(source)
            if not path.exists():
                raise DataError("file not found", where=source)
            for line, text in enumerate(path.read_text().splitlines(), 1):
                if ":" not in text:
                    raise DataError("no colon", where=f"{source}:{line}")
                yield Record({"prompt": text}, source, line)

    paths = [tmp_path / name for name in ("one.words", "two.words", "bad.words")]
    for path, text in zip(paths, ("a: b\nc: d\n", "e: f\n", "a: b\nno\n"), strict=True):
        path.write_text(text)
    *good, bad = map(str, paths)
    check_reader(words, good, [bad])
    with pytest.raises(SkipTest, match="reads no jsonl"):
        check_reader(lambda sources: words([f"{source}.words" for source in sources]))
    with pytest.raises(AssertionError, match=r"two\.words cannot be read as it is"):
        check_reader(words, good, [good[1]])


def test_a_reader_may_go_on_behind_a_bad_record_or_not():
    def impatient(run, sources):
        for record in core(run, sources):
            if record.fault is not None:
                raise record.fault
            yield record

    check_reader(impatient)


def changed(**changes):
    def read(run, sources):
        for record in core(run, sources):
            yield replace(record, **{name: make(record) for name, make in changes.items()})

    return read


def backwards(run, sources):
    return list(core(run, list(reversed(sources))))


def sorted_by_name(run, sources):
    return core(run, sorted(sources))


def first_only(run, sources):
    return core(run, sources[:1])


def passes_over_what_is_bad(run, sources):
    for source in sources:
        for number, line in enumerate(Path(source).read_text().splitlines(), 1):
            try:
                yield Record(json.loads(line), source, number)
            except ValueError:
                continue


def lets_the_parser_speak(run, sources):
    for source in sources:
        for number, line in enumerate(Path(source).read_text().splitlines(), 1):
            yield Record(json.loads(line), source, number)


def saying(where):
    """The core's reader, with a place of its own in what it says of a bad line."""

    def read(run, sources):
        for record in core(run, sources):
            fault = record.fault and DataError("a line is bad", where=where(sources[0]))
            yield replace(record, fault=fault)

    return read


def absent_is_empty(run, sources):
    return core(run, [source for source in sources if Path(source).exists()])


def plain_dicts(run, sources):
    return [dict(record.fields) for record in core(run, sources)]


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (changed(line=lambda r: r.line - 1), "has line 0, after 0; lines count from 1"),
        (changed(line=lambda r: 1), "has line 1, after 1"),
        (changed(line=lambda r: str(r.line)), "has the line '1'"),
        (changed(line=lambda r: r.line + 1), r"the lines are \[2, 3, 2\]"),
        (changed(file=lambda r: "data"), "says that it is from 'data'"),
        (changed(fields=lambda r: {}), "has no fields"),
        (changed(fields=lambda r: {1: "a"}), "fields that are no names"),
        (changed(fields=lambda r: {"prompt": r.fields["prompt"]}), "the fields of"),
        (changed(fault=lambda r: DataError("bad")), "a record of a sound file has a fault"),
        (backwards, "in the order they were named"),
        (sorted_by_name, "in the order they were named"),
        (first_only, "in the order they were named"),
        (passes_over_what_is_bad, r"broken\.jsonl cannot be read as it is, and nothing was said"),
        (lets_the_parser_speak, "must raise DataError, not JSONDecodeError"),
        (saying(lambda source: ""), r"error for broken\.jsonl does not name it"),
        (saying(lambda source: source), "does not name its line 2"),
        (absent_is_empty, r"absent\.jsonl cannot be read as it is"),
        (plain_dicts, "is a dict"),
        (lambda sources: [], "gives no records"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_defect_is_named(read, said):
    with pytest.raises(AssertionError, match=said):
        check_reader(read)
