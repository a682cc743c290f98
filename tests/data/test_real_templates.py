"""Chat templates in the shapes of those that models come with, each through a round trip."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dialogues import decoded, runs, say
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_templates import (
    DIALOGUES,
    MARKING,
    NAMES,
    NO_SYSTEM,
    TEMPLATES,
    answers_of,
    completion,
    text_of,
)
from transformers import PreTrainedTokenizerFast

from anima_core.data.chat import Renderer
from anima_core.data.formats import Example
from anima_core.data.template import encode, encode_completion, encode_preference
from anima_core.errors import DataError

Make = Callable[..., PreTrainedTokenizerFast]


def test_there_are_enough_of_them() -> None:
    assert sorted(path.stem for path in TEMPLATES.glob("*.jinja")) == NAMES
    assert len(NAMES) >= 12


@pytest.mark.parametrize("turns", DIALOGUES)
@pytest.mark.parametrize("name", NAMES)
def test_the_round_trip(
    model: Callable[[str], PreTrainedTokenizerFast], name: str, turns: list[str]
) -> None:
    if name in NO_SYSTEM and turns[0].startswith("s:"):
        pytest.skip("the template takes no system message")
    tokenizer = model(name)
    example = completion(*turns)
    (segment,) = encode_completion(tokenizer, example)
    assert decoded(tokenizer, segment.ids) == text_of(tokenizer, example)
    answers = [t[2:] for t in turns if t[0] == "a"]
    assert runs(tokenizer, segment) == answers_of(name, *answers)
    assert segment.supervised[-1]


@pytest.mark.parametrize("name", sorted(NO_SYSTEM))
def test_a_system_message_that_a_template_refuses(
    model: Callable[[str], PreTrainedTokenizerFast], name: str
) -> None:
    with pytest.raises(DataError, match="System role not supported"):
        encode_completion(model(name), completion("s:x", "u:a", "a:b"))


@pytest.mark.parametrize("name", NAMES)
def test_a_pair_shares_its_prompt(
    model: Callable[[str], PreTrainedTokenizerFast], name: str
) -> None:
    tokenizer = model(name)
    example = Example(say("u:Hello", "a:fine", "u:one"), "p", say("a:two thanks"), say("a:two"))
    prompt, *answers = encode_preference(tokenizer, example)
    for segment, answer in zip(answers, ("two thanks", "two"), strict=True):
        whole = completion("u:Hello", "a:fine", "u:one", f"a:{answer}")
        assert decoded(tokenizer, prompt.ids + segment.ids) == text_of(tokenizer, whole)
        (learnt,) = runs(tokenizer, segment)
        assert learnt == answers_of(name, answer)[0]


def test_masks_are_those_of_the_templates_own_generation_blocks(
    model: Callable[[str], PreTrainedTokenizerFast],
) -> None:
    tokenizer = model("chatml-generation")
    for turns in DIALOGUES:
        (segment,) = encode_completion(tokenizer, completion(*turns))
        own = tokenizer.apply_chat_template(
            list(say(*turns)),
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        count = len(segment.ids)
        assert list(segment.ids) == own["input_ids"][:count]
        assert [int(wanted) for wanted in segment.supervised] == own["assistant_masks"][:count]
        assert not any(own["assistant_masks"][count:])


@pytest.mark.parametrize("name", MARKING)
def test_the_mask_of_a_template_is_the_same_with_and_without_generation_blocks(
    model: Callable[[str], PreTrainedTokenizerFast], name: str
) -> None:
    for turns in DIALOGUES:
        (with_blocks,) = encode_completion(model(f"{name}-generation"), completion(*turns))
        (without,) = encode_completion(model(name), completion(*turns))
        assert with_blocks == without
    pair = Example(say("u:Hello", "a:fine", "u:one"), "p", say("a:two thanks"), say("a:two"))
    assert encode_preference(model(f"{name}-generation"), pair) == encode_preference(
        model(name), pair
    )


def test_thinking_is_learnt_where_the_template_writes_it(
    model: Callable[[str], PreTrainedTokenizerFast],
) -> None:
    tokenizer = model("qwen3")
    thought = "a:<think>\nhm\n</think>\n\nfine"
    (segment,) = encode_completion(tokenizer, completion("u:Hello", thought, "u:one", thought))
    assert runs(tokenizer, segment) == ["fine<|im_end|>", thought[2:] + "<|im_end|>"]
    apart = {"role": "assistant", "content": "fine", "reasoning_content": "hm"}
    (segment,) = encode_completion(tokenizer, Example((*say("u:Hello"), apart), "messages"))
    assert runs(tokenizer, segment) == [thought[2:] + "<|im_end|>"]


@pytest.mark.parametrize("name", ["chatml", "llama-3", "mistral", "phi-3"])
def test_train_on(model: Callable[[str], PreTrainedTokenizerFast], name: str) -> None:
    tokenizer = model(name)
    example = completion("s:x", "u:a", "a:b", "u:c", "a:d")
    render = Renderer(tokenizer)
    ((last,),) = encode(render, [example], train_on="last")
    assert runs(tokenizer, last) == answers_of(name, "d")
    ((everything,),) = encode(render, [example], train_on="all")
    assert everything.supervised == (False, *[True] * (len(everything.ids) - 1))
    assert everything.ids == last.ids


def test_messages_that_are_not_to_be_learnt(
    model: Callable[[str], PreTrainedTokenizerFast],
) -> None:
    tokenizer = model("chatml")
    first, answer, *rest = say("u:a", "a:b", "u:c", "a:d")
    example = Example((first, {**answer, "train": False}, *rest), "messages")
    plain = completion("u:a", "a:b", "u:c", "a:d")
    (segment,) = encode_completion(tokenizer, example)
    assert segment.ids == encode_completion(tokenizer, plain)[0].ids
    assert runs(tokenizer, segment) == ["d<|im_end|>"]
    ((everything,),) = encode(Renderer(tokenizer), [example], train_on="all")
    assert len(runs(tokenizer, everything)) == 2
    assert "b<|im_end|>" not in "".join(runs(tokenizer, everything))
    silent = {**rest[1], "train": False}
    for mode, count in (("assistant", 1), ("last", 0)):
        last = Example((first, answer, rest[0], silent), "messages")
        ((segment,),) = encode(Renderer(tokenizer), [last], train_on=mode)  # type: ignore[arg-type]
        assert len(runs(tokenizer, segment)) == count
        assert not segment.supervised[-1]


def test_plain_text_is_learnt_whole_with_eos(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("none")
    for text in ("Hello there", "ends with</s>", "<|im_end|>"):
        (segment,) = encode_completion(tokenizer, Example((), "text", text=text))
        assert decoded(tokenizer, segment.ids) == text.removesuffix("</s>") + "</s>"
        assert segment.supervised == (False, *[True] * (len(segment.ids) - 1))
    begun = make_tokenizer("none", bos=True)
    (segment,) = encode_completion(begun, Example((), "text", text="Hello"))
    assert decoded(begun, segment.ids) == "<s>Hello</s>"
    assert all(segment.supervised[1:])


CONTENT = st.text(st.sampled_from("ab 42.\n你好🙂é<|>-[]"), min_size=1, max_size=12).filter(
    lambda text: text.strip() == text and text != ""
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    name=st.sampled_from(NAMES),
    system=st.none() | CONTENT,
    dialogue=st.lists(st.tuples(CONTENT, CONTENT), min_size=1, max_size=3),
)
def test_any_dialogue_survives_any_template(
    model: Callable[[str], PreTrainedTokenizerFast],
    name: str,
    system: str | None,
    dialogue: list[tuple[str, str]],
) -> None:
    tokenizer = model(name)
    turns = [f"{who}:{text}" for pair in dialogue for who, text in zip("ua", pair, strict=True)]
    if system is not None and name not in NO_SYSTEM:
        turns.insert(0, f"s:{system}")
    example = completion(*turns)
    (segment,) = encode_completion(tokenizer, example)
    assert decoded(tokenizer, segment.ids) == text_of(tokenizer, example)
    assert runs(tokenizer, segment) == answers_of(name, *(answer for _, answer in dialogue))
