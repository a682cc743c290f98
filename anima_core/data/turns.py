"""Chat messages out of a record's fields, with errors that name file, line and field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anima_core.contracts import Record
from anima_core.data.place import place
from anima_core.errors import DataError

Message = dict[str, str]
"""``{"role": …, "content": …}``"""

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

_UNSUPPORTED = ("tool_calls", "function_call", "audio")


def bad_field(record: Record, field: str, found: str, expected: str, fix: str = "") -> DataError:
    """The error for a field that is not what it should be.

    Args:
        record: the record it is in.
        field: its name, with indices for a nested one (``messages[2].content``).
        found: what stands there.
        expected: what should.
        fix: what to do, if more can be said.
    """
    return DataError(
        f"field {field!r}: found {found}, expected {expected}",
        where=place(record.file, record.line),
        fix=fix,
    )


def shown(value: object) -> str:
    """A value as a message speaks of it."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return f"text {value[:40]!r}" if value.strip() else "empty text"
    if isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else f"the number {value}"
    if isinstance(value, Mapping):
        return f"an object with {', '.join(map(str, value)) or 'no fields'}"
    if isinstance(value, Sequence):
        return f"a list of {len(value)}"
    return f"a {type(value).__name__}"


def text(record: Record, field: str, value: object, *, empty: bool = False) -> str:
    """A field's value as text, unchanged.

    Raises:
        DataError: it is no text, it is empty (unless `empty`), or it is not valid Unicode.
    """
    if not isinstance(value, str):
        raise bad_field(record, field, shown(value), "text")
    if not empty and not value.strip():
        raise bad_field(record, field, "empty text", "text")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise bad_field(
                record, field, "half of a surrogate pair (\\ud800 to \\udfff)", "valid Unicode"
            ) from None
    return value


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
    for key in _UNSUPPORTED:
        if value.get(key):
            raise bad_field(record, f"{field}.{key}", shown(value[key]), "text messages only")
    content = _joined(record, f"{field}.{what}", value.get(what))
    # An empty system prompt or user turn means something; an empty answer teaches nothing.
    return {
        "role": role,
        "content": text(record, f"{field}.{what}", content, empty=role != "assistant"),
    }


def _joined(record: Record, field: str, content: object) -> object:
    """OpenAI's list of content parts as one text."""
    if not isinstance(content, list):
        return content
    parts = []
    for index, part in enumerate(content):
        if not isinstance(part, Mapping) or part.get("type") != "text":
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
    return tuple(turn(record, f"{field}[{i}]", item) for i, item in enumerate(value))
