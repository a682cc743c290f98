from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from anima_core.batch import EncodedExample, Role
from anima_core.contracts import Record
from anima_core.data.audit.brief import brief
from anima_core.data.chat import PLAIN_NOTE
from anima_core.data.collate import collate
from anima_core.data.dataset import load_dataset
from anima_core.data.encoder import AT_ONCE
from anima_core.data.formats import to_example
from anima_core.data.notes import data_notes
from anima_core.data.read import read_sources
from anima_core.data.store import Examples
from anima_core.data.template import encode_completion, encode_preference
from anima_core.errors import DataError
from anima_core.runs.plan import DataSummary, SourceSummary

Make = Callable[..., PreTrainedTokenizerFast]
SHARED = Path(__file__).parents[3] / "shared" / "data"


def records(*rows: dict[str, Any]) -> list[Record]:
    return [Record(row, "x.jsonl", line) for line, row in enumerate(rows, 1)]


def load(
    tokenizer: PreTrainedTokenizerFast, rows: list[Record], **options: Any
) -> tuple[Examples, DataSummary]:
    settings: dict[str, Any] = {
        "kind": "completion",
        "limit": 500,
        "overlong": "error",
        "sources": ["x.jsonl"],
    }
    return load_dataset(rows, tokenizer, **(settings | options))


def many(count: int) -> list[Record]:
    return records(
        *({"prompt": f"question {n}", "completion": "so " * (n % 7 + 1)} for n in range(count))
    )


def fingerprint(examples: list[EncodedExample]) -> str:
    return Examples.of(examples).fingerprint()


def test_batches_equal_one_at_a_time(make_tokenizer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anima_core.data.chunks._RECORDS", AT_ONCE)
    tokenizer = make_tokenizer()
    rows = many(600)
    steps: list[int] = []
    examples, summary = load(tokenizer, rows, progress=steps.append)
    assert [e.line for e in examples] == list(range(1, 601))
    for example, row in zip(examples, rows, strict=True):
        alone = encode_completion(tokenizer, to_example(row, "completion"))
        assert list(example.segments) == alone
    assert sum(steps) == 600
    assert len(steps) > 1
    tokens = sum(e.tokens for e in examples)
    told: dict[str, Any] = brief(examples.columns)
    assert summary == DataSummary(
        sources=("x.jsonl",),
        kind="completion",
        examples=600,
        tokens=tokens,
        supervised_tokens=sum(e.supervised for e in examples),
        longest=max(e.longest for e in examples),
        limit=500,
        formats={"prompt-completion": 600},
        sha256=examples.fingerprint(),
        **told,
        per_source=(SourceSummary("x.jsonl", 600, 600, tokens, taken=600, taken_tokens=tokens),),
    )


def test_preferences(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    rows = records(
        {"prompt": "a", "chosen": "good", "rejected": "bad", "weight": 2},
        {"prompt": "a", "chosen": "same", "rejected": "same"},
    )
    examples, summary = load(tokenizer, rows, kind="preference")
    (example,) = examples
    assert list(example.segments) == encode_preference(tokenizer, to_example(rows[0], "preference"))
    assert (example.weight, example.line) == (2.0, 1)
    assert (summary.examples, summary.unsupervised) == (1, 1)
    assert summary.formats == {"preference": 2}
    assert data_notes(summary, tokenizer) == [
        "1 pairs were left out, whose two answers are equal: x.jsonl:2"
    ]
    batch = collate(examples, [0])
    assert set(batch.target_role.tolist()) == {Role.CHOSEN, Role.REJECTED}


def test_pairs_that_differ_only_in_what_the_template_trims(make_tokenizer: Make) -> None:
    rows = records(
        {"prompt": "a", "chosen": "same", "rejected": "same "},
        {"prompt": "a", "chosen": "good", "rejected": "bad"},
    )
    examples, summary = load(make_tokenizer("llama3"), rows, kind="preference")
    assert [e.line for e in examples] == [2]
    assert summary.unsupervised == 1


def test_overlong_examples_are_counted(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("zephyr")
    rows = records(
        {"prompt": "a", "completion": "b"},
        {"prompt": "long " * 60, "completion": "b"},
        {"prompt": "a", "completion": "long " * 60},
    )
    examples, summary = load(tokenizer, rows, limit=40, overlong="truncate")
    assert [e.line for e in examples] == [1, 2]
    assert summary.longest == 40
    assert (summary.overlong, summary.dropped, summary.truncated) == (2, 1, 1)
    assert data_notes(summary, tokenizer) == [
        "1 of 2 examples over 40 tokens were dropped",
        "1 of 2 examples over 40 tokens had their context cut from the left",
    ]
    collate(examples, [0, 1])
    with pytest.raises(DataError, match="2 of 3 examples are longer than 40"):
        load(tokenizer, rows, limit=40)


@pytest.mark.parametrize(
    ("rows", "options", "what"),
    [
        ([], {}, "no trainable example among 0 records"),
        (
            records({"prompt": "a", "chosen": "b", "rejected": "b"}),
            {"kind": "preference"},
            "no trainable example among 1 records: 1 have nothing to learn from",
        ),
        (
            records({"prompt": "a", "completion": "b"}),
            {"limit": 2, "overlong": "drop"},
            "no trainable example among 1 records: 1 are too long",
        ),
    ],
)
def test_nothing_to_train_on(
    make_tokenizer: Make, rows: list[Record], options: dict[str, Any], what: str
) -> None:
    with pytest.raises(DataError) as caught:
        load(make_tokenizer(), rows, **options)
    assert what in caught.value.what
    assert caught.value.where == "x.jsonl"
    assert caught.value.exit_code == 3


def test_reading_goes_on_after_a_malformed_record(make_tokenizer: Make) -> None:
    bad = Record({"prompt": 3, "completion": "b"}, "x.jsonl", 301)
    worse = Record({"prompt": "a", "completion": 4}, "x.jsonl", 602)
    with pytest.raises(DataError, match="'prompt'") as caught:
        load(make_tokenizer(), [*many(300), bad, *many(300), worse])
    assert caught.value.where == "x.jsonl"
    assert "x.jsonl:301" in caught.value.what
    assert "x.jsonl:602" in caught.value.what


def test_the_plain_layout_is_noted(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("none")
    _, summary = load(tokenizer, many(2))
    assert data_notes(summary, tokenizer) == [PLAIN_NOTE]


def test_fields_that_nothing_reads_are_noted(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("chatml")
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "completion": "b", "sytem": "Be brief."},
        {"prompt": "a", "completion": "b", "weight": 2, "weigth": 3, "id": 7},
    ]
    _, summary = load(tokenizer, records(*rows))
    assert summary.unread_fields == ("sytem", "weigth", "id")
    (note,) = data_notes(summary, tokenizer)
    assert note.endswith(": sytem (did you mean system?), weigth (did you mean weight?), id")


def test_the_hash_sees_all_that_training_sees(make_tokenizer: Make) -> None:
    rows = records({"prompt": "a", "chosen": "good", "rejected": "bad"})
    (example,), summary = load(make_tokenizer(), rows, kind="preference")
    prompt, chosen, rejected = example.segments
    assert fingerprint([replace(example, file="other", line=9)]) == summary.sha256
    changed = [
        replace(example, weight=1.5),
        replace(example, segments=(prompt, chosen, replace(rejected, weights=(0.5, 2.0)))),
        replace(example, segments=(prompt, rejected, chosen)),
        replace(example, segments=(prompt, replace(chosen, role=Role.REJECTED), rejected)),
        replace(example, segments=(prompt, replace(chosen, parent=-1), rejected)),
        replace(
            example,
            segments=(prompt, replace(chosen, ids=(*chosen.ids[:-1], 0)), rejected),
        ),
        replace(
            example,
            segments=(
                prompt,
                replace(chosen, supervised=(False, *chosen.supervised[1:])),
                rejected,
            ),
        ),
    ]
    hashes = {fingerprint([e]) for e in changed} | {summary.sha256, fingerprint([example] * 2)}
    assert len(hashes) == len(changed) + 2


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")
@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("alpaca_en_demo", "completion", 999),
        ("alpaca_zh_demo", "completion", 1000),
        ("identity", "completion", 91),
        ("dpo_en_demo", "preference", 300),
    ],
)
def test_real_files(make_tokenizer: Make, name: str, kind: str, count: int) -> None:
    source = str(SHARED / f"{name}.json")
    examples, summary = load(
        make_tokenizer(), list(read_sources([source])), kind=kind, limit=10**6, sources=[source]
    )
    assert (summary.examples, summary.unsupervised) == (count, 0)
    assert collate(examples, range(8)).examples == 8
