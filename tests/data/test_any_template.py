"""Whatever a sane chat template writes around a dialogue: its text whole, its answers exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dialogues import decoded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from anima_core.batch import EncodedExample
from anima_core.data.collate import collate
from anima_core.data.formats import Example
from anima_core.data.template import encode_completion
from anima_core.errors import DataError

Make = Callable[..., PreTrainedTokenizerFast]


@dataclass(frozen=True)
class Style:
    """A template of many: as Jinja, and what it writes, piece by piece."""

    bos: bool
    mark: str
    """Before a turn, with ROLE in it."""
    after: str
    """Behind the turn of another."""
    end: str
    """Behind an answer: the end of its turn."""
    gap: str
    """Behind that."""
    system: str
    """A turn of its own, or moved to the first or the last user's."""
    closing: bool
    """EOS behind the whole."""
    blocks: str
    """Which part of an answer is marked: none, its content, with its end, with its mark."""

    @property
    def rewrites(self) -> bool:
        """Whether the beginning of a dialogue is written otherwise once more follows."""
        return self.closing or self.system == "last"

    def jinja(self) -> str:
        begin, stop = (
            ("", "") if self.blocks == "none" else ("{% generation %}", "{% endgeneration %}")
        )
        mark = f"{{{{ {self._mark('m.role')} }}}}"
        said = "{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}"
        end = f"{{{{ {self.end!r} }}}}"
        answer = {
            "none": mark + said + end,
            "content": mark + begin + said + stop + end,
            "end": mark + begin + said + end + stop,
            "mark": begin + mark + said + end + stop,
        }[self.blocks] + f"{{{{ {self.gap!r} }}}}"
        moved = f"{{% if loop.index0 == ns.{self.system} %}}{{{{ ns.system }}}}{{% endif %}}"
        other = mark + (moved if self.system != "turn" else "") + "{{ m.content }}"
        skip = (
            "" if self.system == "turn" else "{% if m.role == 'system' %}{% continue %}{% endif %}"
        )
        return (
            "{% set ns = namespace(first=-1, last=-1, system='') %}{% for m in messages %}"
            "{% if m.role == 'system' %}{% set ns.system = m.content + '\\n\\n' %}{% endif %}"
            "{% if m.role == 'user' %}{% if ns.first < 0 %}{% set ns.first = loop.index0 %}"
            "{% endif %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
            + ("{{ bos_token }}" if self.bos else "")
            + "{% if tools %}{{ tools | tojson + '\\n' }}{% endif %}{% for m in messages %}"
            + skip
            + f"{{% if m.role == 'assistant' %}}{answer}{{% else %}}{other}"
            + f"{{{{ {self.after!r} }}}}{{% endif %}}{{% endfor %}}"
            + f"{{% if add_generation_prompt %}}{{{{ {self._mark(repr('assistant'))} }}}}"
            + ("{% else %}{{ eos_token }}{% endif %}" if self.closing else "{% endif %}")
        )

    def _mark(self, role: str) -> str:
        return f"{self.mark!r}.replace('ROLE', {role})"


def learnt_of(style: Style, text: str, dialogue: Dialogue) -> list[bool]:
    """Which characters are to be learnt, told by walking along the text from answer to answer."""
    out = [False] * len(text)
    at = 0
    last = len(dialogue.messages) - 1
    for index, message in enumerate(dialogue.messages):
        said = message["content"] + dialogue.calls_of(index)
        if message["role"] == "system" and style.system != "turn":
            continue
        at = text.index(style.mark.replace("ROLE", message["role"]), at)
        start = text.index(said, at + len(style.mark.replace("ROLE", message["role"])))
        at = start + len(said)
        if message["role"] == "assistant":
            at += len(style.end) if text.startswith(style.end, at) else 0
            stop = len(text) if index == last else len(text[:at].rstrip())
            out[start:stop] = [True] * (stop - start)
    return out


@dataclass(frozen=True)
class Dialogue:
    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...]
    written: tuple[str, ...]
    """How each message's calls are written."""

    def calls_of(self, index: int) -> str:
        return self.written[index]


WORDS = st.text(st.sampled_from("ab 4.\n\tüé你🙂<|>-[]{}%"), min_size=1, max_size=10)
SAID = WORDS.filter(lambda text: bool(text.strip()))
TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": "é"}}}
WRITTEN = '[{"type": "function", "function": {"name": "look", "arguments": {"at": "é"}}}]'


@st.composite
def dialogues(draw: st.DrawFn) -> Dialogue:
    messages: list[dict[str, Any]] = []
    written: list[str] = []

    def say(role: str, calls: bool = False) -> None:
        message: dict[str, Any] = {"role": role, "content": draw(SAID)}
        if calls:
            message["tool_calls"] = [CALL]
        messages.append(message)
        written.append(WRITTEN if calls else "")

    tools = draw(st.booleans())
    if draw(st.booleans()):
        say("system")
    for _ in range(draw(st.integers(1, 3))):
        say("user")
        if tools and draw(st.booleans()):
            say("assistant", calls=True)
            say("tool")
        say("assistant")
    return Dialogue(tuple(messages), (TOOL,) if tools else (), tuple(written))


STYLES = st.builds(
    Style,
    bos=st.booleans(),
    mark=st.sampled_from(
        ["<|im_start|>ROLE\n", "[ROLE] ", "\n\nROLE: ", "<|start_header_id|>ROLE"]
    ),
    after=st.sampled_from(["<|im_end|>\n", "\n", "", "<|eot_id|>"]),
    end=st.sampled_from(["<|im_end|>", "</s>", " </s>", ""]),
    gap=st.sampled_from(["", "\n", "\n\n"]),
    system=st.sampled_from(["turn", "first", "last"]),
    closing=st.booleans(),
    blocks=st.sampled_from(["none", "content", "end", "mark"]),
)


@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(style=STYLES, dialogue=dialogues())
def test_the_text_is_whole_and_the_mask_covers_exactly_the_answers(
    make_tokenizer: Make, style: Style, dialogue: Dialogue
) -> None:
    tokenizer = make_tokenizer("chatml")
    before, tokenizer.chat_template = tokenizer.chat_template, style.jinja()
    try:
        whole = tokenizer.apply_chat_template(
            list(dialogue.messages), tools=list(dialogue.tools) or None, tokenize=False
        )
        example = Example(dialogue.messages, "m", tools=dialogue.tools, file="x", line=1)
        segment, error = None, None
        try:
            (segment,) = encode_completion(tokenizer, example)
        except DataError as found:
            error = found
    finally:
        tokenizer.chat_template = before
    if segment is None:
        assert style.rewrites, error
        assert style.blocks == "none", error
        assert "differently once more follows" in str(error)
        return
    # White space that ends the whole text is no part of it, be it an open answer's own.
    learnt = learnt_of(style, whole, dialogue)
    text = whole.rstrip()
    eos = tokenizer.eos_token
    ends = style.closing or style.end
    assert decoded(tokenizer, segment.ids) == text + ("" if ends else eos)
    places = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    expected = [any(learnt[start:stop]) for start, stop in places["offset_mapping"]]
    expected += [] if ends else [True]
    assert list(segment.supervised) == [False, *expected[1:]]
    assert segment.supervised[-1]
    batch = collate([EncodedExample((segment,))] * 2, [0, 1])
    assert batch.targets.tolist() == 2 * [
        token for token, wanted in zip(segment.ids, segment.supervised, strict=True) if wanted
    ]
