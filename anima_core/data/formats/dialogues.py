r"""Dialogues written as one string, the turns told apart by marks.

Style           Its turns
chip2           ``<human>: …\n<bot>: …``
oasst           ``### Human: …### Assistant: …`` (openassistant-guanaco)
hh-rlhf         ``\n\nHuman: …\n\nAssistant: …`` (Bai et al. 2022)
user-assistant  ``USER: …\n ASSISTANT: …`` (longchat, Vicuna)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from anima_core.contracts import Record
from anima_core.data.field import bad_field, text
from anima_core.data.formats.example import Parts
from anima_core.data.turns import Message, check_order

OPEN_END = "the dialogue ends with a user's turn, which nobody answers; that turn was left out"

_AS_TEXT = "--format text takes every text as it stands"


@dataclass(frozen=True)
class Marks:
    """How a style of dialogue marks its turns.

    Attributes:
        name: the style.
        human, bot: the marks, as messages show them.
        pattern: finds either, with the word that tells them apart as its group.
    """

    name: str
    human: str
    bot: str
    pattern: re.Pattern[str]


MARKS = (
    Marks("chip2", "<human>:", "<bot>:", re.compile(r"(?:\A|\n)\s*<(human|bot)>:")),
    Marks("oasst", "### Human:", "### Assistant:", re.compile(r"### (Human|Assistant):")),
    Marks("hh-rlhf", "Human:", "Assistant:", re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")),
    Marks("user-assistant", "USER:", "ASSISTANT:", re.compile(r"(?:\A|\n)\s*(USER|ASSISTANT):")),
)


def marks_of(value: object) -> Marks | None:
    """The style in which a value is a dialogue: it begins with a human's turn and has an answer."""
    if not isinstance(value, str):
        return None
    for marks in MARKS:
        found = list(marks.pattern.finditer(value))
        human = bool(found) and not value[: found[0].start()].strip() and _is_human(found[0])
        if human and not all(map(_is_human, found)):
            return marks
    return None


def dialogue(record: Record, field: str, marks: Marks) -> tuple[tuple[Message, ...], bool]:
    """A field's text as messages, white space around each turn taken off.

    Text before the first mark is the system's message.

    Returns:
        The messages up to the last answer, and whether a user's turn after it was left out.

    Raises:
        DataError: a turn is empty or out of order, or nothing is answered.
    """
    whole = text(record, field, record.fields[field])
    found = list(marks.pattern.finditer(whole))
    messages: list[Message] = []
    before = whole[: found[0].start()] if found else whole
    if before.strip():
        messages.append({"role": "system", "content": before.strip()})
    ends = [*(match.start() for match in found), len(whole)][1:]
    for index, (match, end) in enumerate(zip(found, ends, strict=True)):
        role = "user" if _is_human(match) else "assistant"
        content = whole[match.end() : end].strip()
        if not content and (role == "assistant" or index < len(found) - 1):
            found_ = f"an empty turn {index + 1} of the {role}"
            raise bad_field(record, field, found_, "text", _AS_TEXT)
        messages.append({"role": role, "content": content})
    last = messages.pop() if messages and messages[-1]["role"] == "user" else None
    if not messages or messages[-1]["role"] != "assistant":
        expected = f"a dialogue of {marks.human} and {marks.bot} turns"
        raise bad_field(record, field, "no answer", expected, _AS_TEXT)
    fix = f"a mark in the middle of a line is no turn's beginning; {_AS_TEXT}"
    check_order(record, field, messages, fix)
    return tuple(messages), bool(last and last["content"])


def read_text_as(marks: Marks) -> Callable[[Record], Parts]:
    """The reader of one style, for the field ``text``."""

    def read(record: Record) -> Parts:
        messages, open_end = dialogue(record, "text", marks)
        remark = (
            f"'text' was read as a dialogue of {marks.human} and {marks.bot} turns, without the "
            "white space around each (--format text takes it as it stands)"
        )
        return Parts(messages, remarks=(remark, OPEN_END) if open_end else (remark,))

    return read


def _is_human(match: re.Match[str]) -> bool:
    return match[1].lower() in ("human", "user")
