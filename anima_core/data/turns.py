"""Chat messages out of a record's fields, with errors that name file, line and field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anima_core.contracts import Record
from anima_core.data.field import bad_field, shown, text
from anima_core.data.tools import calls_of
from anima_core.data.weights import weight_of

Message = dict[str, Any]
"""``{"role": …, "content": …}``, and ``tool_calls``, ``tool_call_id``, ``name`` or
``reasoning_content`` where it has them; ``"train": False`` where it is not to be learnt, or
``"weight"`` where its tokens have another weight in the loss than 1."""

ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "tool": "tool",
}
"""Every role that is understood (OpenAI's and ShareGPT's), and the chat template's name for it."""

_UNSUPPORTED = {"function_call": "'tool_calls' in its stead", "audio": "text messages only"}
_KEPT = ("tool_call_id", "name", "reasoning_content")


def turn(record: Record, field: str, value: object) -> Message:
    """One message: ``{"role", "content"}`` or ShareGPT's ``{"from", "value"}``.

    Raises:
        DataError: it is no such object, its role is unknown, or its content is not text.
    """
    if not isinstance(value, Mapping):
        raise bad_field(record, field, shown(value), "a message with role and content")
    who, what = ("from", "value") if "from" in value else ("role", "content")
    if who not in value:
        raise bad_field(record, field, shown(value), "a message with role and content")
    name = value[who]
    role = ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise bad_field(record, f"{field}.{who}", shown(name), f"one of {', '.join(ROLES)}")
    for key, expected in _UNSUPPORTED.items():
        if value.get(key):
            raise bad_field(record, f"{field}.{key}", shown(value[key]), expected)
    calls = _calls(record, field, role, value.get("tool_calls"))
    content = _joined(record, f"{field}.{what}", value.get(what))
    if calls and content is None:
        content = ""
    # An empty system prompt or user turn means something; an empty answer teaches nothing.
    empty = role != "assistant" or bool(calls)
    message: Message = {
        "role": role,
        "content": text(record, f"{field}.{what}", content, empty=empty),
    }
    if calls:
        message["tool_calls"] = calls
    for key in _KEPT:
        if value.get(key):
            message[key] = text(record, f"{field}.{key}", value[key])
    weight = weight_of(record, field, role, value)
    if not weight:
        message["train"] = False
    elif weight != 1:
        message["weight"] = weight
    return message


def _calls(record: Record, field: str, role: str, value: object) -> list[dict[str, Any]]:
    if not value:
        return []
    if role != "assistant":
        raise bad_field(record, f"{field}.tool_calls", shown(value), "none, but of the assistant")
    return calls_of(record, f"{field}.tool_calls", value)


def _joined(record: Record, field: str, content: object) -> object:
    """OpenAI's list of content parts as one text."""
    if not isinstance(content, list):
        return content
    parts = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if isinstance(kind, str) and kind != "text":
            raise bad_field(
                record,
                f"{field}[{index}]",
                f"a part of type {kind!r}",
                "text",
                "the model is taught text alone: leave the record out, or write what the part says",
            )
        if not isinstance(part, Mapping) or kind != "text":
            raise bad_field(record, f"{field}[{index}]", shown(part), "a part of type text")
        parts.append(text(record, f"{field}[{index}].text", part.get("text"), empty=True))
    return "".join(parts)


def turns(record: Record, field: str, value: Any) -> tuple[Message, ...]:
    """A list of messages (or a single one).

    Raises:
        DataError: it is empty or no list of messages.
    """
    if isinstance(value, Mapping):
        return (turn(record, field, value),)
    if not isinstance(value, list) or not value:
        found = "an empty list" if value == [] else shown(value)
        raise bad_field(record, field, found, "a list of messages")
    messages = tuple(turn(record, f"{field}[{i}]", item) for i, item in enumerate(value))
    check_order(record, field, messages)
    return messages


def check_order(record: Record, field: str, messages: Sequence[Message], fix: str = "") -> None:
    """Refuse turns that do not follow one another as in a dialogue.

    Raises:
        DataError: a system message that is not the first, two turns in a row by the user or by
            the assistant, or a tool's answer to no call.
    """
    for index, message in enumerate(messages[1:], 1):
        role, before = message["role"], messages[index - 1]
        if role == "system":
            found, expected = "a system message", "none after the first message"
        elif role == before["role"] and role != "tool":
            found, expected = f"a second message by {role!r} in a row", "another's turn"
        elif role == "tool" and before["role"] != "tool" and "tool_calls" not in before:
            found, expected = "a tool's answer", "a message with tool_calls before it"
        else:
            continue
        raise bad_field(record, f"{field}[{index}]", found, expected, fix)
