"""The formats that are known, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from anima_core.contracts import Record
from anima_core.data.formats import completions, preferences
from anima_core.data.formats.dialogues import MARKS, marks_of, read_text_as
from anima_core.data.formats.example import Kind, Parts
from anima_core.data.formats.parts import given, verdict
from anima_core.errors import UsageError
from anima_core.registry.names import did_you_mean

Fits = Callable[[Mapping[str, Any]], bool]

EVERYWHERE = ("weight",)
"""Fields that every format reads."""
OF_A_PAIR = ("margin",)
"""Fields that every format of a preference reads besides."""


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: what it is called, in the plan and by ``--format``.
        kind: what may be learnt from it.
        shape: its fields, as an error tells of them.
        needs: fields without which it cannot be read.
        reads: every other field that it looks at, besides `EVERYWHERE` and `OF_A_PAIR`.
        read: reads a record.
        also: what else a record must be like to be taken for it.
        asked: the same in the place of `also`, where only formats of its kind are asked about.
        instead: other fields that hold the same, in a record for which the format is named.
    """

    name: str
    kind: Kind
    shape: str
    needs: tuple[str, ...]
    reads: tuple[str, ...]
    read: Callable[[Record], Parts]
    also: Fits = lambda _: True
    asked: Fits | None = None
    instead: tuple[str, ...] = ()

    def fits(self, fields: Mapping[str, Any], *, asked: bool = False) -> bool:
        """Whether a record with these fields is taken to be in this format."""
        also = self.asked if asked and self.asked else self.also
        return all(given(fields, field) for field in self.needs) and also(fields)

    def reads_from(self, fields: Mapping[str, Any]) -> bool:
        """Whether a record with these fields can be read in this format, when it is named."""
        pairs = (self.needs, self.instead) if self.instead else (self.needs,)
        return any(all(given(fields, field) for field in names) for names in pairs)

    @cached_property
    def fields(self) -> frozenset[str]:
        """Every field that it looks at."""
        pair = OF_A_PAIR if self.kind == "preference" else ()
        return frozenset((*self.needs, *self.instead, *self.reads, *EVERYWHERE, *pair))


def _judged(fields: Mapping[str, Any]) -> bool:
    return verdict(fields) is not None and _answers(fields)


def _judged_by_number(fields: Mapping[str, Any]) -> bool:
    """Also by 0 and 1, which are classes of something else where nobody asks for a verdict."""
    return verdict(fields, numbers=True) is not None and _answers(fields)


def _answers(fields: Mapping[str, Any]) -> bool:
    answered = given(fields, "completion") or given(fields, "response")
    whole = given(fields, "messages") or given(fields, "conversations")
    return whole or (answered and given(fields, "prompt"))


def _marked(name: str) -> Fits:
    def fits(fields: Mapping[str, Any]) -> bool:
        marks = marks_of(fields.get("text"))
        return marks is not None and marks.name == name

    return fits


def _without_pair(fields: Mapping[str, Any]) -> bool:
    return "chosen" not in fields


_PAIR = ("chosen", "rejected")
_TALK = ("system", "tools")

FORMATS: tuple[Format, ...] = (
    Format(
        "unpaired", "unpaired", "prompt + completion (or messages) + label (true or false)",
        ("label",), (*_TALK, "messages", "conversations", "prompt", "completion", "response"),
        completions.with_verdict, _judged, _judged_by_number,
    ),
    Format(
        "dialogue-pairs", "preference", "chosen + rejected (whole dialogues)",
        _PAIR, _TALK, preferences.whole_messages, preferences.are_whole,
    ),
    Format(
        "hh-rlhf", "preference", r"chosen + rejected ('\n\nHuman: …\n\nAssistant: …')",
        _PAIR, (), preferences.whole_strings, preferences.are_strings,
    ),
    Format(
        "sharegpt-preference", "preference", "conversations + chosen + rejected",
        ("conversations", *_PAIR), _TALK, preferences.conversation,
    ),
    Format(
        "alpaca-preference", "preference", "instruction (+ input) + chosen + rejected",
        ("instruction", *_PAIR), ("input", "history", "system"), preferences.alpaca,
        lambda fields: not given(fields, "messages"),
    ),
    Format(
        "preference", "preference", "prompt + chosen + rejected",
        _PAIR, (*_TALK, "prompt", "messages"), preferences.prompt,
    ),
    Format(
        "messages", "completion", "messages",
        ("messages",), _TALK, completions.dialogue_in("messages"),
    ),
    Format(
        "sharegpt", "completion", "conversations",
        ("conversations",), _TALK, completions.dialogue_in("conversations"), _without_pair,
    ),
    Format(
        "alpaca", "completion", "instruction + output (+ input, system, history)",
        ("instruction", "output"), ("input", "history", "system"), completions.alpaca,
    ),
    Format(
        "self-instruct", "completion", "a prompt that ends with 'Output:' + completion",
        ("prompt", "completion"), ("system",), completions.self_instruct,
        completions.is_self_instruct,
    ),
    Format(
        "prompt-completion", "completion", "prompt + completion",
        ("prompt", "completion"), _TALK, completions.prompt_and("completion"),
    ),
    Format(
        "prompt-response", "completion", "prompt + response",
        ("prompt", "response"), _TALK, completions.prompt_and("response"),
    ),
    Format(
        "input-output", "completion", "input + output",
        ("input", "output"), ("system",), completions.question_and("input", "output"),
        lambda fields: "instruction" not in fields,
    ),
    Format(
        "long-data", "completion", "source + target",
        ("source", "target"), ("system",), completions.long_data,
        instead=("prompt", "completion"),
    ),
    *(
        Format(
            "hh-rlhf-text" if marks.name == "hh-rlhf" else marks.name, "completion",
            f"text ('{marks.human} … {marks.bot} …')", ("text",), (), read_text_as(marks),
            _marked(marks.name),
        )
        for marks in MARKS
    ),
    Format("text", "completion", "text", ("text",), (), completions.plain_text),
)  # fmt: skip

FIELDS = frozenset(field for known in FORMATS for field in known.fields)
"""Every field that some format reads."""

_BY_NAME = {known.name: known for known in FORMATS}


def fields_of(name: str) -> frozenset[str]:
    """The fields that a format reads."""
    return _BY_NAME[name].fields


def detect(fields: Mapping[str, Any], kind: Kind | None = None) -> Format | None:
    """The format of a record, by its fields.

    Args:
        fields: the record's fields.
        kind: look among the formats of this kind only.
    """
    asked = kind is not None
    return next(
        (f for f in FORMATS if kind in (None, f.kind) and f.fits(fields, asked=asked)), None
    )


def named(name: str, kind: Kind) -> Format:
    """The format that ``--format`` names.

    Raises:
        UsageError: there is none, or the loss learns from another kind.
    """
    known = _BY_NAME.get(name)
    if known is None:
        fix = did_you_mean(name, _BY_NAME) or f"known are {', '.join(_BY_NAME)}"
        raise UsageError("no such format", where=f"--format {name}", fix=fix)
    fitting = (kind, "preference") if kind == "unpaired" else (kind,)
    if known.kind not in fitting:
        own = ", ".join(f.name for f in FORMATS if f.kind in fitting)
        raise UsageError(
            f"holds {known.kind} examples, but the loss learns from {kind} examples",
            where=f"--format {name}",
            fix=f"Use another loss, or one of {own}.",
        )
    return known
