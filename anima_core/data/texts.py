"""Records from json and jsonl files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from anima_core.config.paths import home_expanded
from anima_core.contracts import Record
from anima_core.data.place import place
from anima_core.errors import DataError

_SPACE = re.compile(r"[ \t\r\n]*")
_BOM = "\ufeff"


def lines(source: str) -> Iterator[str]:
    """The lines of a UTF-8 file, line ends kept, a byte-order mark removed; one at a time.

    Raises:
        DataError: it cannot be opened, or a line is not UTF-8; the message names the line.
    """
    try:
        with home_expanded(source).open("rb") as stream:
            for number, raw in enumerate(stream, 1):
                text = _decode(raw, source, number)
                yield text.removeprefix(_BOM) if number == 1 else text
    except OSError as error:
        raise _unreadable(source, error) from None


def _decode(raw: bytes, source: str, line: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        at = line + raw.count(b"\n", 0, error.start)
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            guess = "looks like UTF-16"
        else:
            guess = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        raise DataError(
            f"{guess}; text must be UTF-8",
            where=f"{source}:{at}",
            fix="convert it, e.g. iconv -f LATIN1 -t UTF-8 OLD > NEW (with its own encoding)",
        ) from None


def read_jsonl(source: str) -> Iterator[Record]:
    """One JSON object a line; blank lines are passed over."""
    for number, text in enumerate(lines(source), 1):
        if text.isspace():
            continue
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            if error.lineno > 1:
                where, hint = f"{source}:{number}", "one whole JSON object belongs on each line"
            else:
                where, hint = f"{source}:{number}:{error.colno}", ""
            raise DataError(f"malformed JSON: {error.msg}", where=where, fix=hint) from None
        except RecursionError:
            raise DataError("JSON is nested too deeply", where=f"{source}:{number}") from None
        yield as_record(value, source, number)


def read_json(source: str) -> Iterator[Record]:
    """A JSON list of objects, or objects one after another.

    The text is held once and objects are parsed one at a time; a record's `line` is its number.
    """
    try:
        raw = home_expanded(source).read_bytes()
    except OSError as error:
        raise _unreadable(source, error) from None
    text = _decode(raw, source, 1).removeprefix(_BOM)
    del raw
    at = _skip(text, 0)
    if at == len(text):
        return
    values = _elements(text, at + 1, source) if text[at] == "[" else _sequence(text, at, source)
    for number, value in enumerate(values, 1):
        yield as_record(value, source, number)


def as_record(value: Any, source: str, line: int) -> Record:
    """Any JSON value as a record.

    Raises:
        DataError: it is not an object.
    """
    if not isinstance(value, dict):
        raise DataError(
            f"expected an object with named fields, found {_KINDS.get(type(value), 'null')}",
            where=place(source, line),
            fix='a record looks like {"prompt": "…", "completion": "…"}',
        )
    return Record(value, source, line)


_KINDS = {list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false"}
_decoder = json.JSONDecoder()


def _elements(text: str, at: int, source: str) -> Iterator[Any]:
    """The elements of a list whose bracket was opened just before `at`."""
    at = _skip(text, at)
    if text[at : at + 1] != "]":
        while True:
            value, at = _value(text, at, source)
            yield value
            at = _skip(text, at)
            if text[at : at + 1] == "]":
                break
            if text[at : at + 1] != ",":
                _malformed("expected ',' or ']' after a record", text, at, source)
            at = _skip(text, at + 1)
    at = _skip(text, at + 1)
    if at != len(text):
        _malformed("text after the end of the list", text, at, source)


def _sequence(text: str, at: int, source: str) -> Iterator[Any]:
    while at < len(text):
        value, at = _value(text, at, source)
        yield value
        at = _skip(text, at)


def _value(text: str, at: int, source: str) -> tuple[Any, int]:
    try:
        return _decoder.raw_decode(text, at)
    except json.JSONDecodeError as error:
        _malformed(error.msg, text, error.pos, source)
    except RecursionError:
        _malformed("nested too deeply", text, at, source)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _malformed(what: str, text: str, at: int, source: str) -> NoReturn:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    raise DataError(f"malformed JSON: {what}", where=f"{source}:{line}:{column}")


def _unreadable(source: str, error: OSError) -> DataError:
    return DataError(f"cannot be read: {error.strerror or error}", where=source)
