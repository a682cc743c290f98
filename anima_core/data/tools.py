"""Tools that an assistant may call, and its calls, out of a record's fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from anima_core.contracts import Record
from anima_core.data.field import bad_field, shown


def tools_of(record: Record) -> tuple[Mapping[str, Any], ...]:
    """The field ``tools``: a list of functions in OpenAI's form, or the same as JSON text.

    Raises:
        DataError: it is no such list.
    """
    value = record.fields.get("tools")
    if isinstance(value, str):
        value = _parsed(record, "tools", value) if value.strip() else None
    if not value:
        return ()
    if not isinstance(value, list):
        raise bad_field(record, "tools", shown(value), "a list of functions")
    return tuple(_function(record, f"tools[{i}]", tool) for i, tool in enumerate(value))


def _function(record: Record, field: str, tool: Any) -> Mapping[str, Any]:
    return dict(_whole(record, field, tool))


def _whole(record: Record, field: str, given: Any) -> Mapping[str, Any]:
    """A tool or a call as an object with a ``function``, which may stand there by itself."""
    if isinstance(given, Mapping) and "function" not in given and "name" in given:
        given = {"type": "function", "function": given}
    function = given.get("function") if isinstance(given, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise bad_field(record, field, shown(given), "an object with a function and its name")
    whole: Mapping[str, Any] = given
    return whole


def calls_of(record: Record, field: str, value: Any) -> list[dict[str, Any]]:
    """An assistant's ``tool_calls``, their arguments as objects.

    OpenAI writes arguments as JSON text; chat templates write objects as JSON themselves and
    would quote text a second time.

    Raises:
        DataError: it is no list of calls, or arguments are no JSON object.
    """
    if not isinstance(value, list):
        raise bad_field(record, field, shown(value), "a list of calls")
    return [_call(record, f"{field}[{i}]", call) for i, call in enumerate(value)]


def _call(record: Record, field: str, call: Any) -> dict[str, Any]:
    whole = _whole(record, field, call)
    function = whole["function"]
    place = f"{field}.function.arguments"
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = _parsed(record, place, arguments) if arguments.strip() else {}
    if not isinstance(arguments, Mapping | None):
        raise bad_field(record, place, shown(arguments), "an object")
    return {**whole, "function": {**function, "arguments": dict(arguments or {})}}


def _parsed(record: Record, field: str, value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise bad_field(record, field, shown(value), "JSON") from None
