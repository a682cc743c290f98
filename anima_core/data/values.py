"""Parsed values as records, and what keeps them from being one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from anima_core.contracts import Record
from anima_core.data.place import place
from anima_core.errors import DataError

_KINDS = {list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false"}
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def as_record(value: Any, text: str, source: str, line: int) -> Record:
    """A JSON value as a record; its fault says if it is none.

    Args:
        value: the value.
        text: what it was parsed from.
        source: the file.
        line: the line, or the record's number.
    """
    if not isinstance(value, dict):
        fault = DataError(
            f"expected an object with named fields, found {_KINDS.get(type(value), 'null')}",
            where=place(source, line),
            fix=_advice(value),
        )
        return Record({}, source, line, fault)
    if _HALF.search(text) and (found := _torn(value)):
        fault = DataError(
            f"field {found[0]!r} holds half of a character: \\u{ord(found[1]):04x}",
            where=place(source, line),
            fix="a character beyond \\uffff is written as two \\u in JSON: the text was cut "
            "between them",
        )
        return Record({}, source, line, fault)
    return Record(value, source, line)


def _advice(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "a file that is one list of records is read under a name that ends in .json"
    return 'a record looks like {"prompt": "…", "completion": "…"}'


def _torn(value: Any) -> tuple[str, str] | None:
    """The field and the first lone surrogate in a JSON value."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            return "", value[error.start]
        return None
    if not isinstance(value, Mapping | list):
        return None
    for name, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        if found := _torn(name if isinstance(name, str) else "") or _torn(item):
            inner, half = found
            return ".".join(filter(None, [ascii(name).strip("'"), inner])), half
    return None
