"""Dialogues over a limit: what is left is the template's own text of fewer and shorter turns."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from anima_core.batch import EncodedExample
from anima_core.contracts import Record
from anima_core.data.chat import Renderer
from anima_core.data.chosen_template import use_template
from anima_core.data.encoder import Encoder
from anima_core.data.formats import Kind
from anima_core.data.handling import Handling
from anima_core.data.limits import prompt_and_answer
from anima_core.data.tally import Tally

Make = Callable[..., PreTrainedTokenizerFast]
ROLES = {"s": "system", "u": "user", "a": "assistant"}
LONG = "The answer is: 42. Hello there, how are you today? " * 8


def say(*turns: str) -> list[dict[str, str]]:
    return [{"role": ROLES[turn[0]], "content": turn[2:]} for turn in turns]


def cut(
    tokenizer: PreTrainedTokenizerFast,
    fields: dict[str, Any],
    limit: int,
    kind: Kind = "completion",
    **options: Any,
) -> tuple[EncodedExample | None, Tally]:
    encoder = Encoder(tokenizer, kind, Handling(**options), limit, "truncate")
    made = encoder.encode([Record(fields, "x.jsonl", 1)])
    return (made.examples[0] if made.examples else None), made.tally


def text_of(tokenizer: PreTrainedTokenizerFast, ids: tuple[int, ...]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False))


def rendered(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]]) -> str:
    return Renderer(tokenizer)(messages).rstrip()


STYLES = ["chatml", "llama3", "zephyr", "open", "none"]


@pytest.mark.parametrize("style", STYLES)
def test_the_question_is_cut_from_its_left(make_tokenizer: Make, style: str) -> None:
    tokenizer = make_tokenizer(style)
    messages = say("s:Be kind to users.", f"u:{LONG}and what is it?", "a:It is 42, thanks.")
    made, tally = cut(tokenizer, {"messages": messages}, 70)
    assert made is not None
    (segment,) = made.segments
    assert 70 - 3 <= len(segment.ids) <= 70
    assert (tally.lengths.overlong, tally.lengths.truncated, tally.lengths.dropped) == (1, 1, 0)
    text = text_of(tokenizer, segment.ids)
    question = next(  # the template's own text of some shorter question
        LONG[start:] + "and what is it?"
        for start in range(1, len(LONG))
        if rendered(tokenizer, _asked(messages, LONG[start:])) in text
    )
    assert question.endswith("and what is it?")
    whole, _ = cut(tokenizer, {"messages": messages}, 10_000)
    assert whole is not None
    assert _learnt(made) == _learnt(whole)  # the answer and its end


def _asked(messages: list[dict[str, str]], words: str) -> list[dict[str, str]]:
    return [messages[0], {"role": "user", "content": words + "and what is it?"}, messages[2]]


def _learnt(example: EncodedExample) -> list[int]:
    pairs = zip(example.segments[-1].ids, example.segments[-1].supervised, strict=True)
    return [token for token, wanted in pairs if wanted]


@pytest.mark.parametrize("style", ["chatml", "llama3", "none"])
def test_whole_turns_go_first_and_the_system_stays(make_tokenizer: Make, style: str) -> None:
    tokenizer = make_tokenizer(style)
    turns = [f"u:first {LONG}", "a:one", "u:second", f"a:two {LONG}", "u:third", "a:three"]
    messages = say("s:Be kind.", *turns)
    without = rendered(tokenizer, [messages[0], *messages[5:]])
    size = len(tokenizer(without, add_special_tokens=False)["input_ids"])
    made, _ = cut(tokenizer, {"messages": messages}, size + 20)
    assert made is not None
    assert text_of(tokenizer, made.segments[0].ids).rstrip() == without
    # With room for the second turn and part of the first, the first is cut: its answer stays.
    most = len(tokenizer(rendered(tokenizer, messages), add_special_tokens=False)["input_ids"])
    made, _ = cut(tokenizer, {"messages": messages}, most - 30)
    assert made is not None
    text = text_of(tokenizer, made.segments[0].ids)
    assert "first" not in text
    assert all(words in text for words in ("Be kind.", "one", "second", "two", "three"))
    assert most - 33 <= len(made.segments[0].ids) <= most - 30


def test_an_answer_is_never_cut(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    for fields in (
        {"prompt": "a", "completion": LONG},
        {"messages": say(f"s:{LONG}", "u:a", "a:b")},
        {"text": LONG},
    ):
        made, tally = cut(tokenizer, fields, 40)
        assert made is None
        assert (tally.lengths.dropped, tally.lengths.truncated) == (1, 0)
        assert not tally.faults.total


def test_a_pairs_prompt_is_cut_for_both_answers(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("llama3", bos=True)
    fields = {"prompt": LONG, "chosen": "good and so on", "rejected": "bad"}
    whole, _ = cut(tokenizer, fields, 10_000, "preference")
    made, _ = cut(tokenizer, fields, 60, "preference")
    assert made is not None
    assert whole is not None
    assert 57 <= made.longest <= 60
    assert made.segments[1:] == whole.segments[1:]
    prompt = text_of(tokenizer, made.segments[0].ids)
    assert prompt.startswith("<s><|start_header_id|>user<|end_header_id|>")
    assert (made.group, made.line) == (whole.group, 1)


def test_a_tools_answer_is_cut_after_the_question(make_tokenizer: Make) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": {}}}
    messages = [
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": "so", "tool_calls": [call]},
        {"role": "tool", "content": LONG + "the end"},
        {"role": "assistant", "content": "It is 42."},
    ]
    tokenizer = copy.deepcopy(make_tokenizer())
    use_template(tokenizer, "chatml-tools")
    made, tally = cut(tokenizer, {"messages": messages}, 140)
    assert not tally.faults.total, tally.faults.listed()
    assert made is not None
    assert 137 <= made.longest <= 140
    text = text_of(tokenizer, made.segments[0].ids)
    assert "the end\n</tool_response><|im_end|>" in text
    assert text.endswith("It is 42.<|im_end|>")


def test_prompts_have_a_limit_of_their_own(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    fields = {"source": LONG, "target": "It is 42, thanks."}
    whole, tally = cut(tokenizer, fields, 10_000)
    assert whole is not None
    assert tally.formats == {"long-data": 1}
    prompt, answer = prompt_and_answer(whole)
    options = {"max_prompt_length": 50, "max_answer_length": answer}
    made, tally = cut(tokenizer, fields, 10_000, **options)
    assert made is not None
    assert 47 <= prompt_and_answer(made)[0] <= 50
    assert (tally.lengths.prompt.count, tally.lengths.answer.count) == (1, 0)
    assert cut(tokenizer, fields, 10_000, max_prompt_length=prompt)[0] == whole
    none, tally = cut(tokenizer, fields, 10_000, max_answer_length=answer - 1)
    assert none is None
    assert (tally.lengths.answer.count, tally.lengths.dropped) == (1, 1)


WORDS = st.text(st.sampled_from("a b🙂你\n.'"), min_size=1, max_size=60).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(
    style=st.sampled_from(STYLES),
    kind=st.sampled_from(["bytes", "trimmed", "metaspace"]),
    turns=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4),
    system=st.booleans(),
    limit=st.integers(8, 160),
)
def test_what_is_left_is_a_dialogue_that_ends_as_it_did(
    make_tokenizer: Make,
    style: str,
    kind: str,
    turns: list[tuple[str, str]],
    system: bool,
    limit: int,
) -> None:
    tokenizer = make_tokenizer(style, kind)
    spoken = [words for asked, said in turns for words in (f"u:{asked}", f"a:{said}")]
    messages = say(*(["s:Be kind."] if system else []), *spoken)
    encoder = Encoder(tokenizer, "completion", Handling(), limit, "truncate")
    tally = Tally()
    record = Record({"messages": messages}, "x.jsonl", 1)
    pairs = encoder.encoded(encoder.examples([record], tally), tally)
    for example, whole in pairs:
        if whole.longest <= limit:
            continue
        made = encoder.shorter(example, whole)
        if made is None:
            continue
        assert made.longest <= limit
        _, answer = prompt_and_answer(whole)
        assert prompt_and_answer(made)[1] in (answer, answer + 1, answer - 1)
        # Some dialogue of fewer turns and a shorter first one has just this text.
        kept = [m for m in messages if m["role"] != "system"]
        heads = messages[: len(messages) - len(kept)]
        ids = made.segments[0].ids
        starts = range(0, len(kept), 2)
        candidates = (
            [*heads, {"role": "user", "content": kept[i]["content"][at:]}, *kept[i + 1 :]]
            for i in starts
            for at in range(len(kept[i]["content"]))
            if kept[i]["content"][at:].strip()
        )
        one = Encoder(tokenizer, "completion", Handling(), 10_000, "error")
        texts = [one.encode([Record({"messages": c}, "y.jsonl", 1)]).examples for c in candidates]
        assert any(found and found[0].segments[0].ids == ids for found in texts)
