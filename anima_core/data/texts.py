"""Records from jsonl files and from plain text."""

from __future__ import annotations

import json
from collections.abc import Iterator

from anima_core.contracts import Record
from anima_core.data.compressed import opened, refuse_other_than_text
from anima_core.data.excerpt import excerpt
from anima_core.data.json_advice import advice
from anima_core.data.lines import BOM, LIMIT, Line, lines, not_utf8, nul_byte, too_long
from anima_core.data.values import as_record
from anima_core.errors import DataError


def read_jsonl(source: str) -> Iterator[Record]:
    """One JSON object a line; blank lines are passed over, and a bad line is one record's fault.

    Raises:
        DataError: the file is no jsonl at all.
    """
    first = True
    for line in lines(source):
        if not line.fault and line.text.isspace():
            continue
        if first and line.text.strip() in ("[", "{"):
            raise DataError(
                "looks like JSON that runs over several lines, where each line should be an object",
                where=f"{source}:{line.number}",
                fix="give it a name that ends in .json",
            )
        first = False
        yield _record(line, source)


def _record(line: Line, source: str) -> Record:
    number, text, fault = line
    if fault:
        return Record({}, source, number, fault)
    text = text.removeprefix(BOM).rstrip("\r\n")  # files that were joined keep their marks
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        short = error.pos >= len(text) or error.msg.startswith("Unterminated string")
        fault = DataError(
            f"malformed JSON: {error.msg}{excerpt(text, error.pos)}",
            where=f"{source}:{number}:{error.colno}",
            fix="one whole JSON object belongs on each line"
            if short
            else advice(error.msg, text, error.pos),
        )
    except RecursionError:
        fault = DataError("JSON is nested too deeply", where=f"{source}:{number}")
    except ValueError as error:  # a number of thousands of digits
        fault = DataError(f"malformed JSON: {error}", where=f"{source}:{number}")
    else:
        return as_record(value, text, source, number)
    return Record({}, source, number, fault)


def read_text(source: str) -> Iterator[Record]:
    """A file of plain text as one record with the field ``text``; blank ones hold no record.

    Windows line ends become line feeds.
    """
    with opened(source) as stream:
        refuse_other_than_text(stream, source)
        raw = stream.read(LIMIT + 1)
    if len(raw) > LIMIT:
        fix = f"divide it, e.g. split -C {LIMIT // 2**20}m OLD NEW-, or write one text a line as "
        raise too_long("the text", source, fix + 'jsonl: {"text": "…"}')
    text = raw.decode("utf-8", "surrogateescape").removeprefix(BOM)
    fault = _fault_of(text, source)
    if fault:
        yield Record({}, source, 1, fault)
    elif text and not text.isspace():
        yield Record({"text": text.replace("\r\n", "\n")}, source, 1)


def _fault_of(text: str, source: str) -> DataError | None:
    if "\0" in text:
        at = text.index("\0")
        return nul_byte(text, at, f"{source}:{text.count(chr(10), 0, at) + 1}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return not_utf8(text, error.start, f"{source}:{text.count(chr(10), 0, error.start) + 1}")
    return None
