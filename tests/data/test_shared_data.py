"""Real files that are no part of the project, where they are at hand: each is what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from anima_core.batch import EncodedExample
from anima_core.data.dataset import load_dataset
from anima_core.data.formats.known import detect
from anima_core.data.handling import Handling
from anima_core.data.read import read_sources
from anima_core.errors import DataError
from anima_core.model.folder import model_folder
from anima_core.model.resolve import resolve_model
from anima_core.runs.plan import DataSummary

SHARED = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not SHARED.is_dir(), reason=f"no data beside the project, in {SHARED}"),
]

FILES = {
    "alpaca_en_demo": ("completion", "alpaca", 999),
    "alpaca_zh_demo": ("completion", "alpaca", 1000),
    "identity": ("completion", "alpaca", 91),
    "dpo_en_demo": ("preference", "sharegpt-preference", 300),
    "kto_en_demo": ("unpaired", "unpaired", 300),
}
TRAINABLE = [name for name, (kind, *_) in FILES.items() if kind != "unpaired"]


@pytest.fixture(scope="module")
def demo() -> Iterator[PreTrainedTokenizerBase]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ANIMA_CACHE", raising=False)
        yield AutoTokenizer.from_pretrained(model_folder(resolve_model("demo"), weights=False))


def load(
    name: str, tokenizer: PreTrainedTokenizerBase, kind: Any = "completion", **handling: Any
) -> tuple[list[EncodedExample], DataSummary]:
    source = str(SHARED / f"{name}.json")
    examples, summary = load_dataset(
        read_sources([source]),
        tokenizer,
        kind=kind,
        limit=8192,
        overlong="error",
        sources=[source],
        handling=Handling(**handling),
    )
    return list(examples), summary


@pytest.mark.parametrize("name", FILES)
def test_every_record_is_read_and_found_to_be_what_it_is(name: str) -> None:
    _, known, count = FILES[name]
    records = list(read_sources([str(SHARED / f"{name}.json")]))
    assert not [record.fault for record in records if record.fault]
    found = Counter(fits.name for record in records if (fits := detect(record.fields)))
    assert found == {known: count}


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_record_is_an_example_that_ends_its_answers(
    demo: PreTrainedTokenizerBase, name: str
) -> None:
    kind, known, count = FILES[name]
    examples, summary = load(name, demo, kind)
    assert (summary.examples, summary.bad, summary.unsupervised) == (count, 0, 0)
    assert summary.formats == {known: count}
    assert not summary.unread_fields
    for example in examples:
        for segment in example.segments:
            if any(segment.supervised):
                assert segment.ids[-1] == demo.eos_token_id
                assert segment.supervised[-1]


def test_placeholders_are_found_and_filled(demo: PreTrainedTokenizerBase) -> None:
    examples, summary = load("identity", demo)
    assert summary.placeholders == {"name": 77, "author": 60}
    examples, summary = load("identity", demo, fill={"name": "Anima", "author": "the project"})
    assert (summary.placeholders, summary.filled) == ({}, {"name": 77, "author": 60})
    texts = [demo.decode(example.segments[0].ids) for example in examples]
    assert sum("Anima" in text for text in texts) == 77
    assert not any("{{" in text for text in texts)


def test_verdicts_are_not_learnt_as_answers(demo: PreTrainedTokenizerBase) -> None:
    with pytest.raises(DataError, match="300 of 300 records cannot be used") as caught:
        load("kto_en_demo", demo)
    assert "300 × field 'label': a verdict" in caught.value.what
    assert "--kto" in caught.value.fix


def test_conversations_under_another_name_are_refused_with_the_mapping(
    demo: PreTrainedTokenizerBase,
) -> None:
    with pytest.raises(DataError, match="158 of 158 records cannot be used") as caught:
        load("longchat_topics", demo)
    assert "--columns text=CONVERSATION" in caught.value.fix
    assert "--format text" in caught.value.fix
    assert len(caught.value.what.splitlines()) == 3
    columns = {"text": "CONVERSATION"}
    _, summary = load("longchat_topics", demo, columns=columns, format="text")
    assert (summary.examples, summary.formats) == (158, {"text": 158})
    # A mark in the middle of a line makes one of them no dialogue.
    _, summary = load("longchat_topics", demo, columns=columns, skip_bad_records=True)
    assert (summary.formats, summary.bad) == ({"user-assistant": 157}, 1)
