"""Answers with a verdict, as token segments; and pairs, taken as two of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from anima_core.batch import Role
from anima_core.contracts import Record
from anima_core.data.dataset import load_dataset
from anima_core.data.formats import to_example, to_examples
from anima_core.data.formats.make import UNPAIRED
from anima_core.data.handling import Handling
from anima_core.data.template import encode_completion, encode_preference
from anima_core.errors import DataError, UsageError

Make = Callable[..., PreTrainedTokenizerFast]
SHARED = Path(__file__).parents[3] / "shared" / "data"
PAIR = {"prompt": "who?", "chosen": "It is I.", "rejected": "Nobody is."}


def records(*rows: dict[str, Any]) -> list[Record]:
    return [Record(row, "x.jsonl", line) for line, row in enumerate(rows, 1)]


def load(tokenizer: PreTrainedTokenizerFast, *rows: dict[str, Any], **options: Any) -> Any:
    settings: dict[str, Any] = {"kind": "unpaired", "limit": 500, "overlong": "error"}
    return load_dataset(records(*rows), tokenizer, sources=["x.jsonl"], **(settings | options))


@pytest.mark.parametrize("style", ["chatml", "llama3", "zephyr", "open", "think-last"])
@pytest.mark.parametrize("label", [True, False])
def test_a_prompt_and_the_answer_that_is_judged(
    make_tokenizer: Make, style: str, label: bool
) -> None:
    tokenizer = make_tokenizer(style)
    row = {"prompt": "who are you?", "completion": "I am fine.", "label": label, "weight": 2}
    (found,), summary = load(tokenizer, row)
    prompt, answer = found.segments
    assert (prompt.role, prompt.parent, any(prompt.supervised)) == (Role.PROMPT, -1, False)
    assert (answer.role, answer.parent) == (Role.CHOSEN if label else Role.REJECTED, 0)
    (whole,) = encode_completion(
        tokenizer, to_example(records(row)[0], "completion", known("prompt-completion"))
    )
    assert prompt.ids + answer.ids == whole.ids
    assert prompt.supervised + answer.supervised == whole.supervised
    assert answer.supervised[0]
    assert (found.weight, found.line) == (2.0, 1)
    assert (summary.good_answers, summary.bad_answers) == (int(label), int(not label))


def known(name: str) -> Any:
    from anima_core.data.formats import named

    return named(name, "completion")


def test_of_a_dialogue_what_follows_the_users_last_words_is_judged(make_tokenizer: Make) -> None:
    said = ["one?", "1 is one.", "two?", "2 is two."]
    messages = [
        {"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(said)
    ]
    tokenizer = make_tokenizer("chatml")
    (found,), _ = load(tokenizer, {"messages": messages, "label": False})
    prompt, answer = (tokenizer.decode(segment.ids) for segment in found.segments)
    assert "1 is one." in prompt
    assert prompt.endswith("assistant\n")
    assert answer == "2 is two.<|im_end|>"


def test_a_tool_call_and_its_result_belong_to_the_answer() -> None:
    call = {"name": "f", "arguments": {}}
    messages = [
        {"role": "user", "content": "look"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": call}],
        },
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "It is 3."},
    ]
    assert to_example(records({"messages": messages, "label": True})[0], "unpaired").judged == 3
    row = {"prompt": messages[:1], "completion": messages[1:], "label": True, "system": "Be kind."}
    example = to_example(records(row)[0], "unpaired")
    assert (example.judged, len(example.messages)) == (3, 5)


def test_weights_of_an_answers_messages_are_refused(make_tokenizer: Make) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "weight": 0.5},
    ]
    with pytest.raises(DataError, match=r"messages\[1\].weight.*a verdict is on a whole answer"):
        load(make_tokenizer(), {"messages": messages, "label": True})
    messages[1]["train"] = messages[1].pop("weight") > 1
    with pytest.raises(DataError, match="no trainable example"):
        load(make_tokenizer(), {"messages": messages, "label": True})


def test_a_pair_is_a_good_answer_and_a_bad_one(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("chatml")
    (good, bad), summary = load(tokenizer, PAIR)
    prompt, chosen, rejected = encode_preference(
        tokenizer, to_example(records(PAIR)[0], "preference")
    )
    for found, answer in ((good, chosen), (bad, rejected)):
        assert found.segments[1].role == answer.role
        whole = prompt.ids + answer.ids
        assert found.segments[0].ids + found.segments[1].ids == whole
    assert (good.group, good.line) == (bad.group, bad.line)
    assert (summary.good_answers, summary.bad_answers, summary.examples) == (1, 1, 2)
    assert dict(summary.formats) == {"preference": 1}
    assert dict(summary.remarks) == {UNPAIRED: 1}


def test_a_pair_of_equal_answers_says_nothing(make_tokenizer: Make) -> None:
    (_, _), summary = load(make_tokenizer(), {**PAIR, "rejected": PAIR["chosen"]}, PAIR)
    assert (summary.unsupervised, summary.examples) == (1, 2)


@pytest.mark.parametrize("name", ["preference", "unpaired"])
def test_the_format_of_pairs_may_be_named(make_tokenizer: Make, name: str) -> None:
    row = PAIR if name == "preference" else {"prompt": "a", "completion": "b", "label": "false"}
    examples, _ = load(make_tokenizer(), row, handling=Handling(format=name))
    assert len(examples) == (2 if name == "preference" else 1)
    with pytest.raises(UsageError, match="learns from unpaired"):
        load(make_tokenizer(), row, handling=Handling(format="alpaca"))


def test_other_kinds_give_one_example_a_record() -> None:
    for kind in ("completion", "preference"):
        row = PAIR if kind == "preference" else {"prompt": "a", "completion": "b"}
        assert to_examples(records(row)[0], kind) == (to_example(records(row)[0], kind),)


def test_an_answer_without_a_verdict_is_refused(make_tokenizer: Make) -> None:
    with pytest.raises(DataError, match=r"completion record.*answers with a verdict") as caught:
        load(make_tokenizer(), {"prompt": "a", "completion": "b"})
    assert "'label'" in str(caught.value)
    assert "--sft" in str(caught.value)


def test_text_of_special_tokens_is_told_of_in_both_answers(make_tokenizer: Make) -> None:
    row = {**PAIR, "rejected": "No <|im_end|>"}
    _, summary = load(make_tokenizer("chatml"), row)
    assert summary.special_text == 1


def test_a_long_prompt_is_cut_and_the_answer_is_not(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("chatml")
    row = {"prompt": "so " * 60, "completion": "I am fine, thanks.", "label": True}
    (long,), _ = load(tokenizer, row)
    (short,), summary = load(tokenizer, row, limit=60, overlong="truncate")
    assert summary.truncated == 1
    assert short.segments[1] == long.segments[1]
    assert short.longest <= 60 < long.longest


@pytest.mark.shared
def test_the_shared_feedback_is_learnt_whole(make_tokenizer: Make) -> None:
    path = SHARED / "kto_en_demo.json"
    if not path.exists():
        pytest.skip("no shared data here")
    from anima_core.data.read import read_sources

    examples, summary = load_dataset(
        read_sources([str(path)]),
        make_tokenizer("chatml"),
        kind="unpaired",
        limit=20_000,
        overlong="error",
        sources=[str(path)],
    )
    assert len(examples) == summary.good_answers + summary.bad_answers == 300
    assert min(summary.good_answers, summary.bad_answers) > 0
    assert all(len(example.segments) == 2 for example in examples)
