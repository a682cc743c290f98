from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from dialogues import decoded, runs, say
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from anima_core.batch import Role
from anima_core.data.chat import Renderer
from anima_core.data.formats import Example
from anima_core.data.template import encode_completion, encode_preference, prompt_ids
from anima_core.errors import DataError, SetupError

Make = Callable[..., PreTrainedTokenizerFast]

STYLES = ["chatml", "llama3", "zephyr", "open", "think-last", "eos-last", "none"]
KINDS = ["bytes", "trimmed", "metaspace"]
END = {  # what closes a turn, and what closes the last one
    "chatml": ("<|im_end|>", "<|im_end|>"),
    "llama3": ("<|eot_id|>", "<|eot_id|>"),
    "zephyr": ("</s>", "</s>"),
    "open": ("", "</s>"),
    "think-last": ("<|im_end|>", "<|im_end|>"),
    "eos-last": ("<|end|>", "<|end|>\n<|endoftext|>"),
    "none": ("</s>", "</s>"),
}


def completion(*turns: str) -> Example:
    return Example(say(*turns), "messages", file="x.jsonl", line=7)


def preference(prompt: Sequence[str], chosen: str, rejected: str) -> Example:
    return Example(
        say(*prompt), "preference", say(f"a:{chosen}"), say(f"a:{rejected}"), file="x.jsonl", line=7
    )


def without(text: str, style: str) -> str:
    return text.removeprefix("<think>\n\n</think>\n\n") if style == "think-last" else text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "turns",
    [
        ("u:Hello", "a:The answer is: 42."),
        ("s:Speak plainly.", "u:你好", "a:今天天气很好。🙂"),
        ("u:List", "a:- one\n- two", "u:more", "a:fine,\n\nthanks"),
        ("s:x", "u:a", "a:b", "u:c", "a:d", "u:e", "a:naïve café"),
    ],
)
def test_supervised_tokens_are_the_answers_and_their_ends(
    make_tokenizer: Make, kind: str, style: str, turns: tuple[str, ...]
) -> None:
    tokenizer = make_tokenizer(style, kind)
    (segment,) = encode_completion(tokenizer, completion(*turns))
    answers = [t[2:] for t in turns if t[0] == "a"]
    found = runs(tokenizer, segment)
    found[-1] = without(found[-1], style)
    middle, last = END[style]
    if kind == "metaspace":  # its decoder drops or adds a space where a run begins
        found = [text.strip() for text in found]
    if style == "open":  # "Assistant: " and an answer share the token of the space
        found = [text.removeprefix(" ") for text in found]
    assert found == [a + middle for a in answers[:-1]] + [answers[-1] + last]
    assert segment.ids[-1] == tokenizer.eos_token_id
    assert segment.supervised[-1]
    assert (segment.role, segment.parent) == (Role.COMPLETION, -1)


@pytest.mark.parametrize("style", ["chatml", "llama3", "zephyr"])
def test_the_text_is_the_templates_own(make_tokenizer: Make, style: str) -> None:
    tokenizer = make_tokenizer(style)
    example = completion("s:Be.", "u:Hello", "a:fine", "u:and", "a:thanks")
    (segment,) = encode_completion(tokenizer, example)
    text = tokenizer.apply_chat_template(list(example.messages), tokenize=False)
    assert isinstance(text, str)
    assert decoded(tokenizer, segment.ids) == text.rstrip()
    assert segment.ids == tuple(tokenizer(text.rstrip(), add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", STYLES)
def test_generation_starts_from_what_training_saw(
    make_tokenizer: Make, kind: str, style: str
) -> None:
    tokenizer = make_tokenizer(style, kind)
    (segment,) = encode_completion(tokenizer, completion("u:Hello there", "a:are fine"))
    before = list(segment.ids[: segment.supervised.index(True)])
    ids = prompt_ids(tokenizer, list(say("u:Hello there")))
    assert ids == before


def test_a_well_behaved_prompt_is_the_templates_own(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("chatml")
    messages = list(say("s:x", "u:Hello there"))
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt_ids(tokenizer, messages) == tokenizer(text)["input_ids"]


def test_pad_is_eos_and_eos_is_learnt_in_every_turn(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("zephyr")
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    (segment,) = encode_completion(tokenizer, completion("u:a", "a:b", "u:c", "a:d"))
    taught = [
        m
        for i, m in zip(segment.ids, segment.supervised, strict=True)
        if i == tokenizer.eos_token_id
    ]
    assert taught == [False, True, False, True]


def test_the_line_break_after_the_end_of_turn_is_not_learnt(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("chatml")
    (segment,) = encode_completion(tokenizer, completion("u:a", "a:b", "u:c", "a:d"))
    after = segment.ids.index(tokenizer.eos_token_id, segment.supervised.index(True)) + 1
    assert decoded(tokenizer, segment.ids[after : after + 1]) == "\n"
    assert not segment.supervised[after]


@pytest.mark.parametrize("kind", KINDS)
def test_white_space_in_an_answer_is_learnt(make_tokenizer: Make, kind: str) -> None:
    tokenizer = make_tokenizer("chatml", kind)
    (segment,) = encode_completion(tokenizer, completion("u:Hello", "a:\n\n  one\n\n"))
    assert runs(tokenizer, segment)[0].endswith("\n\n  one\n\n<|im_end|>")
    assert sum(segment.supervised) >= 4


@pytest.mark.parametrize("kind", ["bytes", "trimmed"])
def test_a_token_that_reaches_from_the_prompt_into_an_answers_space_is_learnt(
    make_tokenizer: Make, kind: str
) -> None:
    """Trimmed offsets hide the space of a token of two line breaks and a space."""
    tokenizer = make_tokenizer("none", kind)
    (segment,) = encode_completion(tokenizer, completion("u:2\n", "a:  2"))
    assert runs(tokenizer, segment) == ["\n\n  2</s>"]
    (segment,) = encode_completion(tokenizer, completion("u:2\n", "a: 2"))
    assert runs(tokenizer, segment) == [" 2</s>"]


@pytest.mark.parametrize("bos", [False, True])
def test_plain_layout(make_tokenizer: Make, bos: bool) -> None:
    tokenizer = make_tokenizer("none", bos=bos)
    (segment,) = encode_completion(tokenizer, completion("s:x", "u:Hello", "a:42", "u:b", "a:c"))
    start = "<s>" if bos else ""
    assert decoded(tokenizer, segment.ids) == start + "x\nHello\n42</s>\nb\nc</s>"
    assert Renderer(tokenizer).plain


CONTENT = st.text(st.sampled_from("ab 42.\n你好🙂é<|>-"), min_size=1, max_size=12).filter(
    lambda text: text.strip() != ""
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    style=st.sampled_from(["chatml", "zephyr", "none"]),
    kind=st.sampled_from(["bytes", "trimmed"]),
    dialogue=st.lists(st.tuples(CONTENT, CONTENT), min_size=1, max_size=3),
)
def test_any_dialogue_gives_back_its_answers(
    make_tokenizer: Make, style: str, kind: str, dialogue: list[tuple[str, str]]
) -> None:
    tokenizer = make_tokenizer(style, kind)
    turns = [f"{who}:{text}" for pair in dialogue for who, text in zip("ua", pair, strict=True)]
    (segment,) = encode_completion(tokenizer, completion(*turns))
    found = runs(tokenizer, segment)
    assert len(found) == len(dialogue)
    for text, (_, answer) in zip(found, dialogue, strict=True):
        # A token may reach over the boundary: line breaks that end the prompt may come along.
        assert text.lstrip("\n").removesuffix(END[style][0]) == answer.lstrip("\n")


def test_a_moving_template_is_refused_by_name(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("think-prompt")
    with pytest.raises(DataError, match="writes the prompt of message 1 differently") as caught:
        encode_completion(tokenizer, completion("u:a", "a:b"))
    assert caught.value.where == "x.jsonl:7"
    assert "<think>" in caught.value.what
    assert "chat_template" in caught.value.fix


def test_a_template_that_rewrites_a_turn_is_refused(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("chatml")
    moved = tokenizer.chat_template.replace(
        "m['content'] +", "(m['content'] if loop.last else m['content'] | upper) +"
    )
    broken = type(tokenizer)(
        tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|im_end|>", chat_template=moved
    )
    with pytest.raises(DataError, match=r"writes .* differently"):
        encode_completion(broken, completion("u:a", "a:b", "u:c", "a:d"))


def test_what_a_template_refuses_is_said(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("chatml")
    strict = type(tokenizer)(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token="<|im_end|>",
        chat_template="{{ raise_exception('System role not supported') }}",
    )
    with pytest.raises(DataError, match="System role not supported") as caught:
        encode_completion(strict, completion("s:x", "u:a", "a:b"))
    assert "(system, user, assistant)" in caught.value.what
    assert caught.value.where == "x.jsonl:7"


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(SetupError, match="Slow is a slow tokenizer"):
        encode_completion(Slow(), completion("u:a", "a:b"))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", STYLES)
def test_a_pair_is_a_shared_prompt_and_two_answers(
    make_tokenizer: Make, kind: str, style: str
) -> None:
    tokenizer = make_tokenizer(style, kind)
    example = preference(["s:Be kind", "u:Hello", "a:fine", "u:one"], "two thanks", "two")
    prompt, chosen, rejected = encode_preference(tokenizer, example)
    assert [s.role for s in (prompt, chosen, rejected)] == [
        Role.PROMPT,
        Role.CHOSEN,
        Role.REJECTED,
    ]
    assert [s.parent for s in (prompt, chosen, rejected)] == [-1, 0, 0]
    assert not any(prompt.supervised)
    for segment, answer in ((chosen, "two thanks"), (rejected, "two")):
        assert all(segment.supervised)
        (whole,) = encode_completion(
            tokenizer, Example((*example.messages, *say(f"a:{answer}")), "messages")
        )
        assert prompt.ids + segment.ids == whole.ids
        text = without(runs(tokenizer, segment)[0], style)
        assert text.removeprefix(" ") == answer + END[style][1]
    # What both answers share is computed once only as far as the prompt goes.
    assert chosen.ids[0] == rejected.ids[0]


def test_a_token_over_the_boundary_belongs_to_the_answers(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("open")
    prompt, chosen, rejected = encode_preference(tokenizer, preference(["u:Hello"], "fine", "42"))
    assert decoded(tokenizer, prompt.ids) == "User: Hello\nAssistant:"
    assert runs(tokenizer, chosen)[0] == " fine</s>"
    assert runs(tokenizer, rejected)[0] == " 42</s>"


def test_equal_answers_still_have_tokens_of_their_own(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("chatml")
    _, chosen, rejected = encode_preference(tokenizer, preference(["u:a"], "b", "b"))
    assert chosen.ids == rejected.ids
    assert len(chosen.ids) == 2


def test_longer_ends_of_a_pair_leave_the_users_turns_out(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("chatml")
    example = Example(
        say("u:Hello"), "dialogue-pairs", say("a:one", "u:why", "a:two"), say("a:no"), line=1
    )
    _, chosen, rejected = encode_preference(tokenizer, example)
    assert runs(tokenizer, chosen) == ["one<|im_end|>", "two<|im_end|>"]
    assert runs(tokenizer, rejected) == ["no<|im_end|>"]


def test_a_pair_without_anything_before_it_is_refused(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("chatml")
    bare = type(tokenizer)(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token="<|im_end|>",
        chat_template="{% for m in messages if m['role'] == 'assistant' %}"
        "{{ m['content'] }}{% endfor %}",
    )
    with pytest.raises(DataError, match="nothing asks for them"):
        encode_preference(bare, preference(["u:a"], "b", "c"))
