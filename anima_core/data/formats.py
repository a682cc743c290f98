"""Examples from records: every data format that is understood, told apart by its fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from anima_core.contracts import Record
from anima_core.data.place import place
from anima_core.data.turns import Message, bad_field, shown, text, turn, turns
from anima_core.errors import DataError

Kind = Literal["completion", "preference"]

COMPLETION_FORMATS = (
    "prompt + completion (or response)",
    "instruction + output (+ input, system, history)",
    "messages",
    "conversations",
)
PREFERENCE_FORMATS = (
    "prompt + chosen + rejected",
    "conversations + chosen + rejected",
    "chosen + rejected (whole dialogues)",
)

FIELDS = frozenset(
    {
        "prompt", "completion", "response", "instruction", "input", "output", "history", "system",
        "messages", "conversations", "chosen", "rejected", "weight", "tools",
    }
)  # fmt: skip
"""Every field that some format reads."""


@dataclass(frozen=True)
class Example:
    """What is to be learnt from one record.

    Attributes:
        messages: completion: the dialogue, its last message the assistant's; preference: the
            prompt.
        format: name of the format it came in.
        chosen, rejected: preference only: what follows the prompt, from an assistant's message
            to an assistant's message (one message, as a rule).
        weight: its weight in the loss.
        file, line: where it came from.
    """

    messages: tuple[Message, ...]
    format: str
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    weight: float = 1.0
    file: str = ""
    line: int = 0


def to_example(record: Record, kind: Kind) -> Example:
    """Make an example of a record.

    Args:
        record: the record.
        kind: what the loss wants.

    Raises:
        DataError: a field is missing or malformed, or the record is of the other kind; the
            message names file, line and field and says what was expected.
    """
    fields = record.fields
    if fields.get("tools") and fields["tools"] != "[]":
        raise bad_field(record, "tools", shown(fields["tools"]), "no tools: text messages only")
    build = _completion if kind == "completion" else _preference
    name, messages, chosen, rejected = build(record)
    system = _optional(record, "system")
    if system and messages[0]["role"] != "system":
        messages = ({"role": "system", "content": system}, *messages)
    if next((m["role"] for m in messages if m["role"] != "system"), "user") == "assistant":
        raise DataError(
            "the dialogue begins with an assistant's message; nothing asks for it",
            where=place(record.file, record.line),
            fix="begin with a user's message",
        )
    return Example(
        messages, name, chosen, rejected, _weight(record), file=record.file, line=record.line
    )


_Parts = tuple[str, tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]


def _completion(record: Record) -> _Parts:
    fields = record.fields
    if isinstance(fields.get("label"), bool):
        raise bad_field(
            record,
            "label",
            shown(fields["label"]),
            "no verdict: this loss would learn from good and bad answers alike",
            "keep the records whose label is true and take the field away",
        )
    for field, name in (("messages", "messages"), ("conversations", "sharegpt")):
        if _given(fields, field) and not (field == "conversations" and "chosen" in fields):
            messages = turns(record, field, fields[field])
            if messages[-1]["role"] != "assistant":
                raise bad_field(
                    record,
                    f"{field}[{len(messages) - 1}]",
                    f"a last message by {messages[-1]['role']!r}",
                    "one by the assistant, which is what is learnt",
                )
            return name, messages, (), ()
    if _given(fields, "instruction") and _given(fields, "output"):
        answer: Message = {"role": "assistant", "content": text(record, "output", fields["output"])}
        return "alpaca", (*_instruction(record), answer), (), ()
    for field in ("completion", "response"):
        if _given(fields, "prompt") and _given(fields, field):
            messages = (*_prompt(record), *_answer(record, field))
            return f"prompt-{field}", messages, (), ()
    raise _unknown(record, "completion")


def _preference(record: Record) -> _Parts:
    fields = record.fields
    if not (_given(fields, "chosen") and _given(fields, "rejected")):
        raise _unknown(record, "preference")
    chosen, rejected = (
        _answer(record, "chosen", whole=True),
        _answer(record, "rejected", whole=True),
    )
    if chosen[0]["role"] != "assistant" and rejected[0]["role"] != "assistant":
        return _dialogues(record, chosen, rejected)
    for field, answer in (("chosen", chosen), ("rejected", rejected)):
        if answer[0]["role"] != "assistant":
            raise bad_field(
                record,
                f"{field}[0].role",
                shown(answer[0]["role"]),
                "assistant, as in the other answer",
            )
    for field, name in (("conversations", "sharegpt-preference"), ("messages", "preference")):
        if _given(fields, field):
            return name, turns(record, field, fields[field]), chosen, rejected
    if _given(fields, "instruction"):
        return "alpaca-preference", _instruction(record), chosen, rejected
    if _given(fields, "prompt"):
        return "preference", _prompt(record), chosen, rejected
    raise bad_field(
        record,
        "prompt",
        "nothing",
        "the prompt that both answers reply to",
        "add 'prompt' (or 'conversations'), or give chosen and rejected as whole dialogues",
    )


def _dialogues(
    record: Record, chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> _Parts:
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
            )
    return "dialogue-pairs", chosen[:shared], chosen[shared:], rejected[shared:]


def _given(fields: Mapping[str, Any], field: str) -> bool:
    return fields.get(field) is not None


def _optional(record: Record, field: str) -> str:
    value = record.fields.get(field)
    return "" if value is None else text(record, field, value, empty=True)


def _prompt(record: Record) -> tuple[Message, ...]:
    value = record.fields["prompt"]
    if isinstance(value, list | Mapping):
        return turns(record, "prompt", value)
    return ({"role": "user", "content": text(record, "prompt", value)},)


def _instruction(record: Record) -> tuple[Message, ...]:
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
    instruction = text(record, "instruction", record.fields["instruction"], empty=True)
    parts = [part for part in (instruction, _optional(record, "input")) if part.strip()]
    if not parts:
        raise bad_field(record, "instruction", "empty text", "text")
    return (*messages, {"role": "user", "content": "\n".join(parts)})


def _answer(record: Record, field: str, *, whole: bool = False) -> tuple[Message, ...]:
    """An answer as text, a message, or messages that end with the assistant's."""
    value = record.fields[field]
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


def _weight(record: Record) -> float:
    value = record.fields.get("weight")
    if value is None or value == "":
        return 1.0
    expected = "a number above 0"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise bad_field(record, "weight", shown(value), expected)
    try:
        weight = float(value)  # a table's cell is text
    except (ValueError, OverflowError):
        raise bad_field(record, "weight", shown(value), expected) from None
    if not (weight > 0 and math.isfinite(weight)):
        raise bad_field(record, "weight", shown(value), expected)
    return weight


def _unknown(record: Record, kind: Kind) -> DataError:
    """The error for a record that fits no format of the kind that the loss wants."""
    fields = record.fields
    where = place(record.file, record.line)
    names = ", ".join(f"{k} (nothing)" if v is None else str(k) for k, v in fields.items())
    found = f"found the fields {names}" if fields else "found no fields"
    if kind == "completion" and _given(fields, "chosen") and _given(fields, "rejected"):
        return DataError(
            "a preference record (chosen and rejected), but the loss learns from completions",
            where=where,
            fix="add --dpo to learn from preferences",
        )
    if kind == "preference" and _is_completion(fields):
        return DataError(
            f"a completion record, but the loss learns from preferences: {found}",
            where=where,
            fix="use --sft (leave --dpo out), or give records with chosen and rejected",
        )
    formats = COMPLETION_FORMATS if kind == "completion" else PREFERENCE_FORMATS
    return DataError(f"{found}, expected one of: {'; '.join(formats)}", where=where)


def _is_completion(fields: Mapping[str, Any]) -> bool:
    answers = ("completion", "response", "output", "messages", "conversations")
    lone = "chosen" in fields or "rejected" in fields
    return not lone and any(_given(fields, answer) for answer in answers)
