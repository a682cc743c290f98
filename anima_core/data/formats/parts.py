"""The parts that formats share: prompts, answers, weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from anima_core.contracts import Record
from anima_core.data.field import bad_field, shown, text
from anima_core.data.turns import Message, turn, turns
from anima_core.errors import DataError


def given(fields: Mapping[str, Any], field: str) -> bool:
    """Whether a field is there and holds something, be it an empty text."""
    return fields.get(field) is not None


def optional(record: Record, field: str) -> str:
    """A field's text; empty where there is none."""
    value = record.fields.get(field)
    return "" if value is None else text(record, field, value, empty=True)


def user(record: Record, field: str) -> Message:
    """A field's text as the user's message."""
    return {"role": "user", "content": text(record, field, record.fields.get(field))}


def prompt(record: Record) -> tuple[Message, ...]:
    """The field ``prompt``: text, or messages."""
    value = record.fields.get("prompt")
    if isinstance(value, list | Mapping):
        return turns(record, "prompt", value)
    return (user(record, "prompt"),)


def instruction(record: Record) -> tuple[Message, ...]:
    """Alpaca's prompt (Taori et al. 2023): history, then instruction and input, a line each."""
    messages: list[Message] = []
    history = record.fields.get("history") or []
    if not isinstance(history, list):
        raise bad_field(record, "history", shown(history), "a list of [prompt, answer] pairs")
    for index, pair in enumerate(history):
        field = f"history[{index}]"
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise bad_field(record, field, shown(pair), "a pair [prompt, answer]")
        messages.append({"role": "user", "content": text(record, f"{field}[0]", pair[0])})
        messages.append({"role": "assistant", "content": text(record, f"{field}[1]", pair[1])})
    first = text(record, "instruction", record.fields["instruction"], empty=True)
    parts = [part for part in (first, optional(record, "input")) if part.strip()]
    if not parts:
        raise bad_field(record, "instruction", "empty text", "text")
    return (*messages, {"role": "user", "content": "\n".join(parts)})


def answer(record: Record, field: str, *, whole: bool = False) -> tuple[Message, ...]:
    """An answer as text, a message, or messages that end with the assistant's.

    Args:
        record: the record.
        field: where the answer stands.
        whole: whether it may begin with another's message, being a whole dialogue.
    """
    value = record.fields.get(field)
    if isinstance(value, str):
        return ({"role": "assistant", "content": text(record, field, value)},)
    if not isinstance(value, list | Mapping):
        raise bad_field(record, field, shown(value), "text, a message or a list of messages")
    single = isinstance(value, Mapping)
    messages = (turn(record, field, value),) if single else turns(record, field, value)
    if messages[-1]["role"] != "assistant":
        found = f"a last message by {messages[-1]['role']!r}"
        raise bad_field(record, field, found, "one by the assistant")
    if not whole and messages[0]["role"] != "assistant":
        found = f"a first message by {messages[0]['role']!r}"
        raise bad_field(record, field, found, "one by the assistant")
    return messages


def answered(record: Record, field: str) -> tuple[Message, ...]:
    """A field's messages, which end with the assistant's."""
    messages = turns(record, field, record.fields[field])
    if messages[-1]["role"] != "assistant":
        raise bad_field(
            record,
            f"{field}[{len(messages) - 1}]",
            f"a last message by {messages[-1]['role']!r}",
            "one by the assistant, which is what is learnt",
        )
    return messages


_WORDS: dict[object, bool] = {"true": True, "false": False}
_NUMBERS: dict[object, bool] = {1: True, 0: False, "1": True, "0": False}


def verdict(fields: Mapping[str, Any], *, numbers: bool = False) -> bool | None:
    """The field ``label`` where it is a verdict: true or false, in a table as a word.

    Args:
        fields: the record's fields.
        numbers: whether 1 and 0 are verdicts too.
    """
    label = fields.get("label")
    if isinstance(label, bool):
        return label
    if isinstance(label, str):
        label = label.strip().lower()
    elif not isinstance(label, int | float):
        return None
    return (_WORDS | _NUMBERS if numbers else _WORDS).get(label)


def no_verdict(record: Record) -> DataError:
    """The error for a field ``label`` that holds something else."""
    found = shown(record.fields["label"])
    fix = "true is a good answer; if another column holds the verdict: --columns label=COLUMN"
    return bad_field(record, "label", found, "true or false, or 1 or 0", fix)


def weight(record: Record) -> float:
    """The record's weight in the loss; 1 where it has none."""
    return _number(record, "weight", 1.0, "a number above 0", lambda number: number > 0)


def margin(record: Record) -> float:
    """By how much the chosen answer of a pair is the better one; 0 where nothing is said."""
    return _number(record, "margin", 0.0, "a number of 0 or more", lambda number: number >= 0)


def _number(
    record: Record, field: str, without: float, expected: str, fits: Callable[[float], bool]
) -> float:
    value = record.fields.get(field)
    if value is None or value == "":
        return without
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise bad_field(record, field, shown(value), expected)
    try:
        number = float(value)  # a table's cell is text
    except (ValueError, OverflowError):
        raise bad_field(record, field, shown(value), expected) from None
    if not (fits(number) and math.isfinite(number)):
        raise bad_field(record, field, shown(value), expected)
    return number
