"""Readers of the formats that a preference is learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anima_core.contracts import Record
from anima_core.data.field import bad_field, shown
from anima_core.data.formats import parts
from anima_core.data.formats.dialogues import OPEN_END, dialogue, marks_of
from anima_core.data.formats.example import Parts
from anima_core.data.turns import Message, turns

BOTH = ("chosen", "rejected")
PART_EARLY = (
    "the two dialogues part before their last questions, and so do not answer one prompt; all that "
    "follows the first difference is compared"
)


def are_whole(fields: Mapping[str, Any]) -> bool:
    """Whether both answers are whole dialogues, as lists of messages."""
    return all(isinstance(fields.get(field), list) and not _starts(fields[field]) for field in BOTH)


def are_strings(fields: Mapping[str, Any]) -> bool:
    """Whether both answers are whole dialogues, written as strings with marks."""
    styles = [marks_of(fields.get(field)) for field in BOTH]
    return styles[0] is not None and styles[0] == styles[1]


def whole_strings(record: Record) -> Parts:
    """Two dialogues as strings (hh-rlhf, Bai et al. 2022): what they share is the prompt."""
    read = []
    for field in BOTH:
        marks = marks_of(record.fields[field])
        if marks is None:
            found = shown(record.fields[field])
            raise bad_field(record, field, found, "a dialogue that begins with 'Human:'")
        read.append(dialogue(record, field, marks))
    (chosen, open_chosen), (rejected, open_rejected) = read
    return _apart(record, chosen, rejected, (OPEN_END,) if open_chosen or open_rejected else ())


def whole_messages(record: Record) -> Parts:
    """Two dialogues as messages: what they share is the prompt."""
    chosen, rejected = (parts.answer(record, field, whole=True) for field in BOTH)
    return _apart(record, chosen, rejected)


def conversation(record: Record) -> Parts:
    """``conversations``, and two answers to it."""
    return Parts(turns(record, "conversations", record.fields["conversations"]), *_answers(record))


def messages(record: Record) -> Parts:
    """``messages``, and two answers to them."""
    return Parts(turns(record, "messages", record.fields["messages"]), *_answers(record))


def alpaca(record: Record) -> Parts:
    """``instruction`` and ``input``, and two answers to them."""
    chosen, rejected = _answers(record)
    return Parts(parts.instruction(record), chosen, rejected)


def prompt(record: Record) -> Parts:
    """``prompt``, and two answers to it."""
    chosen, rejected = _answers(record)
    if parts.given(record.fields, "messages"):
        return messages(record)
    if not parts.given(record.fields, "prompt"):
        raise bad_field(
            record,
            "prompt",
            "nothing",
            "the prompt that both answers reply to",
            "add 'prompt' (or 'conversations'), or give chosen and rejected as whole dialogues",
        )
    return Parts(parts.prompt(record), chosen, rejected)


def _answers(record: Record) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    chosen, rejected = (parts.answer(record, field, whole=True) for field in BOTH)
    for field, answer in (("chosen", chosen), ("rejected", rejected)):
        if answer[0]["role"] != "assistant":
            role = shown(answer[0]["role"])
            raise bad_field(record, f"{field}[0].role", role, "assistant, as in the other answer")
    return chosen, rejected


def _apart(
    record: Record,
    chosen: tuple[Message, ...],
    rejected: tuple[Message, ...],
    remarks: tuple[str, ...] = (),
) -> Parts:
    """Two dialogues as the turns they share and what follows in each."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    for field, answer in (("chosen", chosen), ("rejected", rejected)):
        if answer[shared]["role"] != "assistant":
            raise bad_field(
                record,
                f"{field}[{shared}]",
                f"the first difference in a message by {answer[shared]['role']!r}",
                "dialogues that part at an assistant's message",
                "give both the same prompt, word for word, or leave the pair out",
            )
    if any(message["role"] == "user" for message in (*chosen[shared:], *rejected[shared:])):
        remarks = (*remarks, PART_EARLY)
    return Parts(chosen[:shared], chosen[shared:], rejected[shared:], remarks=remarks)


def _starts(answer: list[Any]) -> bool:
    """Whether an answer begins with the assistant's own message."""
    first = answer[0] if answer and isinstance(answer[0], Mapping) else {}
    role = first.get("role", first.get("from"))
    return not isinstance(role, str) or role.lower() in ("assistant", "gpt")
