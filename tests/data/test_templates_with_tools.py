"""Templates that write tools and calls, and those that leave them out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dialogues import decoded, runs, say
from model_templates import TOOLS, answers_of, text_of
from transformers import PreTrainedTokenizerFast

from anima_core.data.formats import Example
from anima_core.data.template import encode_completion
from anima_core.errors import DataError

Make = Callable[..., PreTrainedTokenizerFast]

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
