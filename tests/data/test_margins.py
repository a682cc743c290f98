"""By how much an answer of a pair is the better one: from the record's field to the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from anima_core.contracts import Record
from anima_core.data.dataset import load_dataset
from anima_core.data.formats import to_example
from anima_core.data.store import Examples
from anima_core.errors import DataError
from anima_core.runs.capabilities import margin_notes
from anima_core.runs.plan import DataSummary
from anima_core.testing import batch_of, random_examples
from anima_core.training.step import cut, join

Make = Callable[[str], object]
PAIR = {"prompt": "Hi", "chosen": "Hello there", "rejected": "List"}


@pytest.mark.parametrize(
    ("said", "read"), [(1, 1.0), ("0.5", 0.5), (0, 0.0), (None, 0.0), ("", 0.0)]
)
def test_a_pair_s_margin_is_read(said: object, read: float) -> None:
    assert to_example(Record({**PAIR, "margin": said}, "x", 1), "preference").margin == read


@pytest.mark.parametrize("said", [-1, "much", True, float("inf"), float("nan"), [1], "1e999"])
def test_what_is_no_margin_is_refused_with_its_place(said: object) -> None:
    with pytest.raises(DataError, match=r"'margin'.*number of 0 or more") as caught:
        to_example(Record({**PAIR, "margin": said}, "x.jsonl", 7), "preference")
    assert caught.value.where == "x.jsonl:7"


def test_it_comes_to_the_batch_and_is_counted(make_tokenizer: Make) -> None:
    said = [None, 1, 0.25]
    records = [
        Record({**PAIR, "prompt": f"Hi {n}", "margin": margin}, "x.jsonl", n)
        for n, margin in enumerate(said, 1)
    ]
    examples, summary = load_dataset(
        records,
        make_tokenizer("chatml"),  # type: ignore[arg-type]
        kind="preference",
        limit=1000,
        overlong="error",
        sources=["x.jsonl"],
    )
    assert summary.margined == 2
    assert summary.unread_fields == ()
    assert batch_of(examples).margins.tolist() == [0.0, 1.0, 0.25]
    assert batch_of(examples).margins.dtype == torch.float32


def test_it_stays_with_its_pair_however_a_step_is_cut() -> None:
    pairs = [
        replace(pair, margin=float(n))
        for n, pair in enumerate(random_examples("preference", 5, seed=2))
    ]
    batches = cut(pairs, [3, 1, 4, 0], 30)
    assert len(batches) > 1
    for batch in (*batches, join(batches)):
        assert batch.margins.tolist() == [float(row) for row in batch.rows]


def test_it_is_part_of_the_data_s_hash() -> None:
    (pair,) = random_examples("preference", 1)
    hashes = {Examples.of([replace(pair, margin=m)]).fingerprint() for m in (0.0, 1.0, 2.0)}
    assert len(hashes) == 3


def test_a_loss_that_does_not_look_at_it_is_noted() -> None:
    selection = SimpleNamespace(providers={"loss": "dpo (from x 1)"})

    def notes(margined: int, **loss: bool) -> list[str]:
        data = DataSummary(("x",), "preference", 3, 9, 6, 3, 10, margined=margined)
        found = margin_notes(selection, SimpleNamespace(**loss), data)  # type: ignore[arg-type]
        assert all(note.level == "note" for note in found)
        return [note.what for note in found]

    assert notes(2) == ["2 records have a 'margin', which dpo (from x 1) does not look at"]
    assert notes(1) == ["1 record has a 'margin', which dpo (from x 1) does not look at"]
    assert notes(0) == notes(2, reads_margins=True) == []
