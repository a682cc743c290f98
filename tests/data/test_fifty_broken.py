"""Fifty broken records in ten ways among good ones: all told of in one pass, the others kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from anima_core.batch import EncodedExample
from anima_core.data.dataset import load_dataset
from anima_core.data.handling import Handling
from anima_core.data.read import read_sources
from anima_core.errors import DataError
from anima_core.runs.plan import DataSummary

Make = Callable[..., PreTrainedTokenizerFast]

RECORDS, BROKEN, FIRST, EVERY = 2000, 50, 17, 39

WAYS: list[tuple[bytes, str]] = [
    (b'{"prompt": "a" "completion": "b"}', "malformed JSON: Expecting ',' delimiter"),
    (b'{"prompt": "a", "completion": "b', "malformed JSON: Unterminated string"),
    (b'{"prompt": "a"}', "'completion' or 'response' is missing"),
    (b'{"prompt": 3, "completion": "b"}', "field 'prompt': found the number 3, expected text"),
    (b'{"prompt": "caf\xe9", "completion": "b"}', "byte 0xe9 is not UTF-8"),
    (b'{"prompt": "a\0", "completion": "b"}', "holds a NUL byte"),
    (b'["a", "b"]', "expected an object with named fields, found a list"),
    (b'{"messages": [{"role": "user", "content": "a"}]}', "found a last message by 'user'"),
    (b'{"messages": [{"role": "robot", "content": "a"}]}', "found text 'robot', expected one of"),
    (
        b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}',
        "found a part of type 'image_url', expected text",
    ),
]


@pytest.fixture(scope="module")
def broken_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [b'{"prompt": "q%d", "completion": "yes"}' % (n % 9) for n in range(RECORDS)]
    for number in range(BROKEN):
        rows[FIRST + EVERY * number - 1] = WAYS[number % len(WAYS)][0]
    file = tmp_path_factory.mktemp("broken") / "x.jsonl"
    file.write_bytes(b"\n".join(rows) + b"\n")
    return file


def load(
    file: Path, tokenizer: PreTrainedTokenizerFast, *, skip: bool
) -> tuple[list[EncodedExample], DataSummary]:
    examples, summary = load_dataset(
        read_sources([str(file)]),
        tokenizer,
        kind="completion",
        limit=500,
        overlong="error",
        sources=[str(file)],
        handling=Handling(skip_bad_records=skip),
    )
    return list(examples), summary


def told(lines: list[str], file: Path) -> dict[str, list[int]]:
    """The lines of each kind, out of what a person reads."""
    found: dict[str, list[int]] = {}
    for head, places in pairwise(lines):
        if match := re.match(r"\s*(\d+) × (.*)", head):
            assert places.strip().startswith(f"{file}:")
            numbers = re.findall(r"(\d+)(?::\d+)?", places.strip().removeprefix(f"{file}:"))
            assert len(numbers) == int(match[1])
            found[match[2]] = [int(number) for number in numbers]
    return found


def expect_all(found: dict[str, list[int]]) -> None:
    assert len(found) == len(WAYS)
    for way, (_, what) in enumerate(WAYS):
        (lines,) = [lines for kind, lines in found.items() if what in kind]
        assert lines == [FIRST + EVERY * number for number in range(way, BROKEN, len(WAYS))]


def test_each_is_told_with_its_place_and_kind(broken_file: Path, make_tokenizer: Make) -> None:
    with pytest.raises(DataError) as caught:
        load(broken_file, make_tokenizer(), skip=False)
    head, *lines = caught.value.what.splitlines()
    assert head == "50 of 2,000 records cannot be used"
    expect_all(told(lines, broken_file))
    assert "--skip-bad-records" in caught.value.fix


def test_the_others_are_kept_and_the_bad_ones_listed(
    broken_file: Path, make_tokenizer: Make
) -> None:
    examples, summary = load(broken_file, make_tokenizer(), skip=True)
    assert (summary.bad, sum(summary.bad_kinds.values())) == (BROKEN, BROKEN)
    expect_all(told(list(summary.bad_records), broken_file))
    bad = {FIRST + EVERY * number for number in range(BROKEN)}
    assert [example.line for example in examples] == [
        line for line in range(1, RECORDS + 1) if line not in bad
    ]
