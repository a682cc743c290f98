"""Every bad record is found in one pass, and told of once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from anima_core.contracts import Record
from anima_core.data.dataset import load_dataset
from anima_core.data.faults import KINDS, OTHER, SHOWN, Faults, kind_of
from anima_core.data.handling import Handling
from anima_core.data.notes import data_notes
from anima_core.data.places import KEPT, Places
from anima_core.errors import DataError

Make = Callable[..., PreTrainedTokenizerFast]

BROKEN: list[dict[str, Any] | DataError] = [
    {"prompt": 3, "completion": "b"},
    {"prompt": "a", "completion": ""},
    {"prompt": "a"},
    {"messages": []},
    {"messages": [{"role": "bot", "content": "x"}]},
    {"messages": [{"role": "user", "content": "x"}]},
    {"messages": [{"role": "assistant", "content": "x"}]},
    {"instruction": "a", "output": ["b"]},
    {"prompt": "a", "completion": "b", "weight": 0},
    DataError("malformed JSON: expected a comma", where="x.jsonl:0", fix="mend the line"),
]


def stream(count: int, broken: int) -> Iterator[Record]:
    """Good records with `broken` bad ones spread over them, of every kind in turn."""
    every = count // broken
    for line in range(1, count + 1):
        if line % every:
            yield Record({"prompt": f"q{line % 9}", "completion": "yes"}, "x.jsonl", line)
            continue
        bad = BROKEN[line // every % len(BROKEN)]
        if isinstance(bad, DataError):
            fault = DataError(bad.what, where=f"x.jsonl:{line}", fix=bad.fix)
            yield Record({}, "x.jsonl", line, fault)
        else:
            yield Record(bad, "x.jsonl", line)


def load(records: Iterator[Record], tokenizer: PreTrainedTokenizerFast, *, skip: bool) -> Any:
    return load_dataset(
        records,
        tokenizer,
        kind="completion",
        limit=500,
        overlong="error",
        sources=["x.jsonl"],
        handling=Handling(skip_bad_records=skip),
    )


def test_fifty_bad_among_thousands_are_told_in_one_error(make_tokenizer: Make) -> None:
    with pytest.raises(DataError) as caught:
        load(stream(5000, 50), make_tokenizer(), skip=False)
    error = caught.value
    assert error.exit_code == 3
    assert error.where == "x.jsonl"
    head, *lines = [line.strip() for line in error.what.splitlines()]
    assert head == "50 of 5,000 records cannot be used"
    assert sum(line.startswith("5 × ") for line in lines) == len(BROKEN)
    places = lines[lines.index("5 × malformed JSON: expected a comma") + 1]
    assert places == "x.jsonl:900, 1900, 2900, 3900, 4900"
    assert "mend the line" in lines
    told = [int(n) for line in lines if line[:8] == "x.jsonl:" for n in line[8:].split(", ")]
    assert sorted(told) == list(range(100, 5001, 100))
    assert "--skip-bad-records" in error.fix


def test_bad_records_left_out_are_counted_and_listed(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    examples, summary = load(stream(5000, 50), tokenizer, skip=True)
    assert len(examples) == summary.examples == 4950
    assert summary.bad == 50
    assert sum(summary.bad_kinds.values()) == 50
    assert len(summary.bad_kinds) == len(BROKEN)
    assert sum(line.startswith("5 × ") for line in summary.bad_records) == len(BROKEN)
    assert summary.formats == {"prompt-completion": 4950}
    (note,) = data_notes(summary, tokenizer)
    assert note.startswith("50 records cannot be used and were left out")
    assert "x.jsonl:100, 1100, 2100, 3100, 4100" in note


def test_what_the_template_refuses_is_a_fault_of_its_record(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("think-prompt")
    answered = {"prompt": "a", "completion": "<think>"}
    records = [Record(answered, "x.jsonl", 1), Record(answered | {"completion": "b"}, "x.jsonl", 2)]
    examples, summary = load(iter(records), tokenizer, skip=True)
    assert [example.line for example in examples] == [1]
    assert summary.formats == {"prompt-completion": 1}
    assert summary.bad_records[0].startswith("1 × the chat template of")
    assert summary.bad_records[1].strip() == "x.jsonl:2"


def test_a_single_fault_is_the_error_itself(make_tokenizer: Make) -> None:
    with pytest.raises(DataError) as caught:
        load(stream(50, 1), make_tokenizer(), skip=False)
    assert caught.value.where == "x.jsonl:50"
    assert "cannot be used" not in caught.value.what


@pytest.mark.parametrize("skip", [False, True])
def test_a_source_that_ends_in_the_middle_is_never_passed_over(
    make_tokenizer: Make, skip: bool
) -> None:
    def broken_off() -> Iterator[Record]:
        yield from stream(60, 2)
        raise DataError("the file ends too early", where="x.jsonl:61")

    with pytest.raises(DataError, match="the file ends too early") as caught:
        load(broken_off(), make_tokenizer(), skip=skip)
    assert ("3 of 60 records" in caught.value.what) is not skip


def test_nothing_but_bad_records(make_tokenizer: Make) -> None:
    with pytest.raises(DataError, match="4 of 4 records cannot be used"):
        load(stream(4, 4), make_tokenizer(), skip=True)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("field 'm[3].role': found text 'x', expected y",
         "field 'm[12].role': found text 'it', expected y"),
        ("has 3 columns where the header has 4", "has 12 columns where the header has 5"),
        ("'prompt': found the number 1.5, expected text",
         "'prompt': found the number -3, expected text"),
    ],
)  # fmt: skip
def test_values_make_no_kind_of_their_own(a: str, b: str) -> None:
    assert kind_of(a) == kind_of(b)


def test_an_excerpt_and_a_list_of_what_was_expected_are_no_part_of_a_kind() -> None:
    assert kind_of('malformed JSON\n  …"prompt": 3') == "malformed JSON"
    assert kind_of("found the fields a, expected one of: b; c") == "found the fields a"


def test_the_order_of_fields_makes_no_kind() -> None:
    assert kind_of("found the fields b, a") == kind_of("found the fields a, b, expected one of: c")


def test_fields_make_kinds_of_their_own() -> None:
    assert kind_of("field 'prompt': found nothing") != kind_of("field 'output': found nothing")


def test_many_kinds_are_cut_short() -> None:
    faults = Faults()
    for name in "abcdefghijklmnopqrstuvwxyz":
        faults.add(DataError(f"field {name!r}: found nothing", where=f"x:{ord(name)}"))
    assert len(faults.counted()) == SHOWN + 1
    assert faults.counted()[-1] == faults.listed()[-1] == "6 of other kinds"


def test_kinds_without_end_take_bounded_memory() -> None:
    faults = Faults()
    for number in range(3 * KINDS):
        faults.add(DataError(f"field 'f{number}': found nothing", where=f"x.jsonl:{number}"))
    assert (faults.total, len(faults.kinds)) == (3 * KINDS, KINDS + 1)
    assert faults.kinds[OTHER] == 2 * KINDS


def test_places_are_told_in_few_words() -> None:
    places = Places()
    for where in ("a.jsonl:3", "a.jsonl:4", "a.jsonl:5", "a.jsonl:9:2", "b.json:1 (record number)"):
        places.add(where)
    places.add("b.json:2 (record number)")
    places.add("c.txt")
    assert str(places) == "a.jsonl:3-5, 9:2; b.json: records 1-2; c.txt"
    for line in range(0, 20 * KEPT, 10):
        places.add(f"d.jsonl:{line}")
    assert places.total == 7 + 2 * KEPT
    assert str(places).endswith(f" and {2 * KEPT - KEPT + 4:,} more")


def test_faults_of_parts_are_those_of_the_whole() -> None:
    whole, first, second = Faults(), Faults(), Faults()
    for number in range(300):
        fault = DataError(f"field {number % 7!r}: found nothing", where=f"x.jsonl:{number * 2}")
        whole.add(fault)
        (first if number < 123 else second).add(fault)
    first.merge(second)
    assert first.listed() == whole.listed()
    assert (first.total, first.kinds) == (whole.total, whole.kinds)
