"""Text of special tokens in what records say is counted and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dialogues import say
from transformers import PreTrainedTokenizerFast

from anima_core.contracts import Record
from anima_core.data.chat import Renderer
from anima_core.data.dataset import load_dataset
from anima_core.data.formats import Example
from anima_core.data.notes import data_warnings
from anima_core.data.special_text import Met, SpecialTexts
from anima_core.runs.plan import DataSummary

Make = Callable[..., PreTrainedTokenizerFast]


def met(make: Make, *examples: Example) -> Met:
    looks, found = SpecialTexts(Renderer(make("chatml"))), Met()
    for example in examples:
        looks.note(example, found)
    return found


def test_it_is_looked_for_in_all_that_a_record_says(make_tokenizer: Make) -> None:
    thinks = {"role": "assistant", "content": "b", "reasoning_content": "<|end|>"}
    found = met(
        make_tokenizer,
        Example(say("u:a<|im_end|>", "a:b"), "m", file="x.jsonl", line=1),
        Example(say("u:a", "a:b"), "m", file="x.jsonl", line=2),
        Example(say("u:a", "a:</s></s>b<|im_end|>"), "m", file="x.jsonl", line=3),
        Example((*say("u:a"), thinks), "m", file="x.jsonl", line=4),
        Example(say("u:a"), "p", say("a:b"), say("a:<s>"), file="x.jsonl", line=5),
        Example((), "t", text="one<|endoftext|>two", file="x.jsonl", line=6),
    )
    assert found.records == 5
    assert found.texts == {
        "<|im_end|>": 2, "</s>": 1, "<|end|>": 1, "<s>": 1, "<|endoftext|>": 1
    }  # fmt: skip
    assert found.places() == ("x.jsonl:1", "x.jsonl:3", "x.jsonl:4")


def test_what_only_looks_like_it_is_none(make_tokenizer: Make) -> None:
    texts = ("<|im_ended|>", "< |im_end|>", "<|im_end", "</S>", "<unk>", "a < b <| c")
    found = met(make_tokenizer, *(Example(say(f"u:{t}", "a:b"), "m") for t in texts))
    assert found.records == 0


def test_the_end_of_a_plain_text_is_meant(make_tokenizer: Make) -> None:
    assert met(make_tokenizer, Example((), "t", text="one<|im_end|>")).records == 0
    assert met(make_tokenizer, Example((), "t", text="one<|im_end|>two<|im_end|>")).records == 1


def test_a_longer_one_is_not_taken_for_a_shorter_one(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("chatml")

    render = Renderer(tokenizer)
    render.special = {1: "<|a", 2: "<|a|>", render.eos_id: "<|im_end|>"}
    found = Met()
    SpecialTexts(render).note(Example(say("u:<|a|> <|im_end|>", "a:b"), "m"), found)
    assert found.texts == {"<|a|>": 1, "<|im_end|>": 1}


def summary_of(make: Make, rows: list[dict[str, Any]]) -> DataSummary:
    return load_dataset(
        [Record(row, "x.jsonl", line) for line, row in enumerate(rows, 1)],
        make("chatml"),
        kind="completion",
        limit=1000,
        overlong="error",
        sources=["x.jsonl"],
    )[1]


def test_a_data_set_tells_how_often_and_where(make_tokenizer: Make) -> None:
    good, bad = ({"prompt": p, "completion": "b"} for p in ("a", "a<|im_end|>"))
    assert data_warnings(summary_of(make_tokenizer, [good] * 3)) == []
    ((what, fix),) = data_warnings(summary_of(make_tokenizer, [good, bad, bad]))
    assert what == (
        "2 records hold text of special tokens (<|im_end|> in 2), which is read as the token "
        "itself: x.jsonl:2, x.jsonl:3"
    )
    assert "Take it out" in fix
    ((what, _),) = data_warnings(summary_of(make_tokenizer, [bad] * 600))
    assert what.endswith("x.jsonl:1, x.jsonl:2, x.jsonl:3 and 597 more")


def test_one_record_is_spoken_of_as_one(make_tokenizer: Make) -> None:
    ((what, _),) = data_warnings(summary_of(make_tokenizer, [{"prompt": "<s>", "completion": "b"}]))
    assert what.startswith("1 record holds text")
