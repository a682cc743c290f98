"""Chat templates in the shapes of those that models come with, each through a round trip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from dialogues import decoded, runs, say
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AddedToken, PreTrainedTokenizerFast

from anima_core.data.chat import Renderer
from anima_core.data.chosen_template import known_templates, use_template
from anima_core.data.formats import Example
from anima_core.data.template import encode, encode_completion, encode_preference
from anima_core.errors import DataError, UsageError

Make = Callable[..., PreTrainedTokenizerFast]
HERE = Path(__file__).parent / "templates"

IM = ["<|im_start|>", "<|im_end|>"]
HEADER = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
COHERE = ["<|START_OF_TURN_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"]

# EOS, the other special tokens, what ends an answer's turn, and the last one's.
MODELS: dict[str, tuple[str, list[str], str, str]] = {
    "chatml": ("<|im_end|>", IM, "<|im_end|>", "<|im_end|>"),
    "command-r": ("<|END_OF_TURN_TOKEN|>", COHERE, *["<|END_OF_TURN_TOKEN|>"] * 2),
    "deepseek": (
        "<｜end▁of▁sentence｜>", ["<｜User｜>", "<｜Assistant｜>"], *["<｜end▁of▁sentence｜>"] * 2,
    ),
    "gemma": ("<eos>", ["<start_of_turn>", "<end_of_turn>"], *["<end_of_turn>"] * 2),
    "granite": (
        "<|end_of_text|>", ["<|start_of_role|>", "<|end_of_role|>"], *["<|end_of_text|>"] * 2,
    ),
    "hermes-tools": ("<|im_end|>", IM, "<|im_end|>", "<|im_end|>"),
    "llama-2": ("</s>", [], " </s>", " </s>"),
    "llama-3": ("<|eot_id|>", HEADER, "<|eot_id|>", "<|eot_id|>"),
    "mistral": ("</s>", ["[INST]", "[/INST]"], "</s>", "</s>"),
    "phi-3": (
        "<|endoftext|>", ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"],
        "<|end|>", "<|end|>\n<|endoftext|>",
    ),
    "qwen3": ("<|im_end|>", IM, "<|im_end|>", "<|im_end|>"),
    "zephyr": ("</s>", [], "</s>", "</s>"),
}  # fmt: skip
MARKING = ["chatml", "llama-3", "mistral", "qwen3"]  # those with {% generation %} blocks as well
MODELS |= {f"{name}-generation": MODELS[name] for name in MARKING}
NAMES = sorted(MODELS)
NO_SYSTEM = {"gemma"}
TOOLS = ["hermes-tools", "qwen3", "qwen3-generation"]


@pytest.fixture(scope="module")
def model(make_tokenizer: Make) -> Callable[[str], PreTrainedTokenizerFast]:
    made: dict[str, PreTrainedTokenizerFast] = {}

    def build(name: str) -> PreTrainedTokenizerFast:
        if name not in made:
            eos, special, *_ = MODELS[name]
            made[name] = with_template(
                make_tokenizer("none"), (HERE / f"{name}.jinja").read_text(), eos, special
            )
        return made[name]

    return build


def with_template(
    base: PreTrainedTokenizerFast, template: str | None, eos: str, special: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    text = base.backend_tokenizer.to_str()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=type(base.backend_tokenizer).from_str(text),
        bos_token="<s>",
        eos_token=eos,
        unk_token="<unk>",
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )
    tokens = [AddedToken(t, special=True, normalized=False) for t in special]
    tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    return tokenizer


def completion(*turns: str, **more: Any) -> Example:
    return Example(say(*turns), "messages", file="x.jsonl", line=7, **more)


def text_of(tokenizer: PreTrainedTokenizerFast, example: Example) -> str:
    text = tokenizer.apply_chat_template(
        list(example.messages), tools=list(example.tools) or None, tokenize=False
    )
    assert isinstance(text, str)
    return text.rstrip()


def answers_of(name: str, *answers: str) -> list[str]:
    """What is to be learnt of some answers, by the template's own rules."""
    middle, last = MODELS[name][2:]
    name = name.removesuffix("-generation")
    before = " " if name in ("llama-2", "mistral") else ""
    out = [before + a + (middle if i < len(answers) - 1 else last) for i, a in enumerate(answers)]
    if name == "qwen3":
        out[-1] = "<think>\n\n</think>\n\n" + out[-1]
    return out


DIALOGUES = [
    ["u:Hello", "a:The answer is: 42."],
    ["u:List", "a:- one\n- two", "u:more", "a:fine,\n\nthanks"],
    ["s:Be kind.", "u:Hello", "a:fine"],
    ["s:Be kind.", "u:你好", "a:今天天气很好。🙂", "u:one", "a:two", "u:three", "a:naïve café"],
]


def test_there_are_enough_of_them() -> None:
    assert sorted(path.stem for path in HERE.glob("*.jinja")) == NAMES
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


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def with_calls() -> Example:
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Bern"}}}
    messages = (
        *say("s:Be kind.", "u:Weather?"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": '{"sky": "clear"}', "name": "weather"},
        *say("a:It is clear.", "u:Thanks", "a:fine"),
    )
    return Example(messages, "messages", tools=(WEATHER,), file="x.jsonl", line=7)


@pytest.mark.parametrize("name", TOOLS)
def test_calls_are_learnt_and_tools_and_their_answers_are_not(
    model: Callable[[str], PreTrainedTokenizerFast], name: str
) -> None:
    tokenizer = model(name)
    example = with_calls()
    (segment,) = encode_completion(tokenizer, example)
    assert decoded(tokenizer, segment.ids) == text_of(tokenizer, example)
    call, told, last = runs(tokenizer, segment)
    written = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'
    assert call == written + "<|im_end|>"
    assert [told, last] == answers_of(name, "It is clear.", "fine")


@pytest.mark.parametrize("name", TOOLS)
def test_a_call_may_be_what_comes_last_and_last_but_one(
    model: Callable[[str], PreTrainedTokenizerFast], name: str
) -> None:
    example = with_calls()
    for stop in (3, 5):
        cut = Example(example.messages[:stop], "messages", tools=example.tools)
        (segment,) = encode_completion(model(name), cut)
        found = runs(model(name), segment)
        assert found[0].endswith("</tool_call><|im_end|>")
        assert len(found) == (1 if stop == 3 else 2)


@pytest.mark.parametrize("name", ["chatml", "phi-3"])
def test_a_template_without_tools_is_refused_with_what_to_do(
    model: Callable[[str], PreTrainedTokenizerFast], name: str
) -> None:
    with pytest.raises(DataError, match="leaves out 'tools'") as caught:
        encode_completion(model(name), with_calls())
    assert "--template chatml-tools" in caught.value.fix
    assert caught.value.where == "x.jsonl:7"


def test_calls_without_a_list_of_tools_are_looked_for_too(
    model: Callable[[str], PreTrainedTokenizerFast], make_tokenizer: Make
) -> None:
    example = Example(with_calls().messages, "messages")
    with pytest.raises(DataError, match="leaves out the call of 'weather' in message 2"):
        encode_completion(model("chatml"), example)
    with pytest.raises(DataError, match="the plain layout leaves out the call of 'weather'"):
        encode_completion(make_tokenizer("none"), example)
    encode_completion(model("hermes-tools"), example)


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


KNOWN = {  # the fixture that each template of ours is like
    "chatml": "chatml", "chatml-tools": "hermes-tools", "gemma": "gemma", "llama-2": "llama-2",
    "llama-3": "llama-3", "zephyr": "zephyr",
}  # fmt: skip


def test_our_own_templates_are_like_the_models(
    model: Callable[[str], PreTrainedTokenizerFast], make_tokenizer: Make
) -> None:
    assert set(known_templates()) == set(KNOWN)
    for name, fixture in KNOWN.items():
        eos, special, *_ = MODELS[fixture]
        tokenizer = with_template(make_tokenizer("none"), None, eos, special)
        assert use_template(tokenizer, name) == []
        example = completion(*DIALOGUES[1])
        assert encode_completion(tokenizer, example) == encode_completion(model(fixture), example)


def test_marks_that_are_no_tokens_are_warned_of(make_tokenizer: Make) -> None:
    tokenizer = with_template(make_tokenizer("none"), None, "</s>")
    assert use_template(tokenizer, "zephyr") == []
    (problem,) = use_template(tokenizer, "gemma")
    assert problem.level == "warning"
    assert "ends a turn with '<end_of_turn>', which is no token" in problem.what
    (segment,) = encode_completion(tokenizer, completion("u:a", "a:b", "u:c", "a:d"))
    assert runs(tokenizer, segment)[-1].endswith("<end_of_turn></s>")


def test_a_template_from_a_file(make_tokenizer: Make, tmp_path: Path) -> None:
    tokenizer = with_template(make_tokenizer("none"), None, "</s>")
    file = tmp_path / "own.jinja"
    file.write_text("{% for m in messages %}{{ m.role + '>' + m.content + eos_token }}{% endfor %}")
    with pytest.raises(UsageError, match="no template and no file"):
        use_template(tokenizer, str(tmp_path / "other.jinja"))
    assert use_template(tokenizer, str(file)) == []
    assert tokenizer.chat_template == file.read_text()
    file.write_text("{% for m in messages %}")
    with pytest.raises(UsageError, match="no chat template"):
        use_template(tokenizer, str(file))
    file.write_text("Hello")
    with pytest.raises(UsageError, match="never looks at 'messages'"):
        use_template(tokenizer, str(file))
    with pytest.raises(UsageError) as caught:
        use_template(tokenizer, "zephir")
    assert "did you mean zephyr?" in caught.value.fix
