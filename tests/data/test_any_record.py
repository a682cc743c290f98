"""Whatever a record holds: an example, or an error that names its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from anima_core.contracts import Record
from anima_core.data.collate import collate
from anima_core.data.dataset import load_dataset
from anima_core.data.formats import FIELDS, FORMATS, Example, Kind, named, to_example
from anima_core.data.handling import Handling
from anima_core.data.notes import data_notes
from anima_core.errors import DataError

Make = Callable[..., PreTrainedTokenizerFast]

TEXT = st.sampled_from(
    ["", " ", "q", "<human>: a\n<bot>: b", "\n\nHuman: a\n\nAssistant: b", "a\nOutput:", "{{x}}",
     "### Human: a### Assistant:", "USER: a\nASSISTANT: b\nUSER: c", "[]", "true", "\ud800", "1"]
)  # fmt: skip
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "human", "gpt", "bot", 3])
CALLS = st.sampled_from(
    [None, [], [{}], "x", [{"name": "f"}],
     *([{"function": {"name": "f", "arguments": a}}] for a in ('{"a": 1}', "{", [1], {"b": None}))]
)  # fmt: skip
FLAG = st.sampled_from([None, 0, 1, True, False, 0.5, "x"])
PART = st.fixed_dictionaries({"type": st.sampled_from(["text", "image", None]), "text": TEXT})
MESSAGE = st.one_of(
    st.fixed_dictionaries({"from": ROLES, "value": TEXT}),
    st.fixed_dictionaries(
        {"role": ROLES, "content": TEXT | st.none() | st.lists(PART, max_size=2)},
        optional={"tool_calls": CALLS, "train": FLAG, "weight": FLAG, "name": TEXT},
    ),
    TEXT,
)
VALUE = st.one_of(
    TEXT, st.none(), st.booleans(), st.integers(), st.floats(), MESSAGE, CALLS,
    st.lists(MESSAGE, max_size=4), st.lists(st.lists(TEXT, max_size=3), max_size=2),
)  # fmt: skip
GOOD = st.one_of(
    st.sampled_from(
        ["q", "r", "<human>: a\n<bot>: b", "\n\nHuman: a\n\nAssistant: b", "a\nOutput:"]
    ),
    st.sampled_from([1, 2]).map(
        lambda n: [{"role": r, "content": f"{r} {n}"} for r in ("user", "assistant")] * n
    ),
)
SHAPED = st.sampled_from(FORMATS).flatmap(
    lambda known: st.fixed_dictionaries(
        {field: st.booleans() if field == "label" else GOOD | VALUE for field in known.needs},
        optional=dict.fromkeys(known.fields - set(known.needs), GOOD | VALUE),
    )
)
RECORD = SHAPED | st.dictionaries(st.sampled_from(sorted(FIELDS)), VALUE, max_size=6)
KIND: st.SearchStrategy[Kind] = st.sampled_from(["completion", "preference", "unpaired"])


@settings(deadline=None, max_examples=400)
@given(fields=RECORD, kind=KIND, name=st.none() | st.sampled_from([f.name for f in FORMATS]))
def test_an_example_or_an_error_with_its_place(
    fields: dict[str, Any], kind: Kind, name: str | None
) -> None:
    known = next((f for f in FORMATS if f.name == name and f.kind == kind), None)
    found: Example | DataError
    try:
        found = to_example(Record(fields, "x.jsonl", 7), kind, known)
    except DataError as error:
        found = error
    if isinstance(found, DataError):
        assert (found.where, bool(found.what)) == ("x.jsonl:7", True)
        return
    example = found
    assert named(example.format, kind).kind == kind
    assert bool(example.chosen) == bool(example.rejected) == (kind == "preference")
    answer = (*example.messages, *example.chosen)[-1:]
    assert example.text or answer[0]["role"] == "assistant"
    assert (example.label is not None) == (kind == "unpaired")


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(RECORD, max_size=8), kind=KIND)
@pytest.mark.parametrize("style", ["chatml", "none"])
def test_any_records_are_encoded_or_counted(
    make_tokenizer: Make, style: str, rows: list[dict[str, Any]], kind: Kind
) -> None:
    tokenizer = make_tokenizer(style)
    good: dict[str, Any] = {"prompt": "q", "completion": "r", "label": True}
    if kind != "unpaired":
        good.pop("label")
    if kind == "preference":
        good = {"prompt": "q", "chosen": "a", "rejected": "b"}
    records = [Record(row, "x.jsonl", line) for line, row in enumerate([*rows, good], 1)]
    examples, summary = load_dataset(
        records,
        tokenizer,
        kind=kind,
        limit=10**6,
        overlong="error",
        sources=["x.jsonl"],
        handling=Handling(skip_bad_records=True),
    )
    assert summary.examples + summary.unsupervised + summary.bad == len(records)
    assert sum(summary.formats.values()) == summary.examples + summary.unsupervised
    assert collate(examples, range(len(examples))).examples == summary.examples
    assert (summary.bad > 0) == any("cannot be used" in n for n in data_notes(summary, tokenizer))
