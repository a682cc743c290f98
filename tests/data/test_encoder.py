"""What is made of records does not depend on how a data set is cut up, nor on who makes it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from anima_core.batch import EncodedExample
from anima_core.contracts import Record
from anima_core.data.encoder import AT_ONCE, Encoder
from anima_core.data.handling import Handling
from anima_core.data.limits import Limits
from anima_core.data.tally import Tally
from anima_core.errors import DataError

Make = Callable[..., PreTrainedTokenizerFast]
HANDLING = Handling(columns={"prompt": "question"}, fill={"name": "A"}, min_length=8)


def mixed(count: int) -> list[Record]:
    """Records of every kind that a tally tells apart."""
    rows: list[dict[str, Any] | DataError] = [
        {"question": "who?", "completion": "{{name}} " * 3},
        {"prompt": "other", "question": "who?", "completion": "{{open}}"},
        {"question": "who?", "completion": "so " * 90, "extra": 1},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
        {"question": 3, "completion": "b"},
        {"text": "a"},
        DataError("malformed JSON", where="x.jsonl:7", fix="mend it"),
    ]
    picked = ((line, rows[line * line % 11 % len(rows)]) for line in range(1, count + 1))
    return [
        Record({}, "x.jsonl", line, row)
        if isinstance(row, DataError)
        else Record(row, "x.jsonl", line)
        for line, row in picked
    ]


@pytest.mark.parametrize("overlong", ["error", "truncate"])
def test_parts_come_to_the_same_as_the_whole(make_tokenizer: Make, overlong: Any) -> None:
    encoder = Encoder(make_tokenizer(), "completion", HANDLING, 90, overlong)
    records = mixed(3 * AT_ONCE + 5)
    whole = encoder.encode(records)
    tally = Tally()
    examples: list[EncodedExample] = []
    for start in range(0, len(records), AT_ONCE):
        part = encoder.encode(records[start : start + AT_ONCE])
        examples += part.examples
        tally.merge(part.tally)
    assert examples == whole.examples
    other = whole.tally
    assert tally.faults.listed() == other.faults.listed()
    assert tally.lengths == other.lengths
    assert list(tally.unread) == list(other.unread) == ["extra"]
    assert (tally.records, tally.short) == (other.records, other.short)
    assert tally.formats == other.formats
    assert tally.columns == other.columns
    assert tally.placeholders == other.placeholders
    assert tally.short
    assert tally.lengths.overlong
    assert tally.placeholders.filled["name"]
    assert tally.placeholders.open["open"]
    assert tally.columns.hidden == {"prompt": None}


def test_another_process_makes_the_same(make_tokenizer: Make) -> None:
    encoder = Encoder(make_tokenizer(), "completion", HANDLING, 90, "error")
    records = mixed(300)
    here = encoder.encode(records)
    there = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(encoder)).encode(records)))
    assert there.examples == here.examples
    assert there.tally.lengths == here.tally.lengths
    assert there.tally.faults.listed() == here.tally.faults.listed()
    error = there.tally.lengths.refusal(Limits(90), "error")
    assert isinstance(error, DataError)


def test_a_fault_is_the_same_in_another_process() -> None:
    fault = DataError("what", where="x.jsonl:1", fix="fix")
    copy = pickle.loads(pickle.dumps(fault))
    assert (copy.what, copy.where, copy.fix) == ("what", "x.jsonl:1", "fix")
    assert str(copy) == str(fault)


def test_steps_by_themselves_leave_nothing_out_for_its_length(make_tokenizer: Make) -> None:
    encoder = Encoder(make_tokenizer(), "completion", HANDLING, 90, "drop")
    tally = Tally()
    examples = encoder.examples(mixed(200), tally)
    encoded = encoder.encoded(examples, tally)
    assert {example.line for example, _ in encoded} <= {example.line for example in examples}
    assert max(made.longest for _, made in encoded) > 90
    assert min(made.longest for _, made in encoded) < HANDLING.min_length
    assert tally.faults.total
    assert (tally.records, tally.lengths.overlong, tally.short) == (200, 0, 0)
