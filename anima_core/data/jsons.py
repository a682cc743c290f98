"""Records from JSON files: a list, or objects one after another; never all of it in memory."""

from __future__ import annotations

from collections.abc import Iterator

from anima_core.contracts import Record
from anima_core.data.compressed import opened, refuse_other_than_text
from anima_core.data.values import as_record
from anima_core.data.window import CHUNK, Value, Window
from anima_core.errors import DataError


def read_json(source: str, chunk: int = CHUNK) -> Iterator[Record]:
    """A JSON list of objects, or objects one after another; `line` is the record's number.

    Bytes that are not UTF-8 are the fault of the record that they stand in. So is malformed JSON
    where every record has a line of its own; elsewhere nobody can tell where the next one begins.

    Args:
        source: the file.
        chunk: bytes that are read at once.

    Raises:
        DataError: the JSON is malformed; what came before was yielded.
    """
    with opened(source) as stream:
        refuse_other_than_text(stream, source)
        window = Window(stream, source, chunk)
        values = _elements(window) if window.peek() == "[" else _sequence(window)
        for number, value in enumerate(values, 1):
            if value.fault:
                yield Record({}, source, number, value.fault)
            else:
                yield as_record(value.value, value.text, source, number)


def _elements(window: Window) -> Iterator[Value]:
    """The elements of a list whose bracket comes next."""
    window.at += 1
    if window.peek() != "]":
        while True:
            yield window.value()
            if (found := window.peek()) == "]":
                break
            if found != ",":
                raise window.malformed("expected ',' or ']' after a record", window.at)
            window.at += 1
            window.peek()
    window.at += 1
    if window.peek():
        raise window.malformed("text after the end of the list", window.at)


def _sequence(window: Window) -> Iterator[Value]:
    """Values one after another, which may be a jsonl file by another name."""
    by_lines, count = True, 0
    while window.peek():
        try:
            value = window.value()
        except DataError as fault:
            if not (by_lines and count):
                raise
            window.next_line()
            yield Value(None, "", True, fault)
            continue
        by_lines = by_lines and value.one_line
        count += 1
        yield value
