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
    where every record so far, in a list or not, has a line of its own; elsewhere nobody can tell
    where the next one begins.

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
    lines = _ByLines(window)
    if window.peek() != "]":
        while True:
            value = lines.value()
            yield value
            found = window.peek()
            if found == "]":
                break
            if value is lines.passed_over:
                if not found:
                    return  # the fault was that the list ends too early
                continue  # the comma is gone with its line
            if found != ",":
                raise window.malformed("expected ',' or ']' after a record", window.at)
            window.at += 1
            window.peek()
    window.at += 1
    if window.peek():
        raise window.malformed("text after the end of the list", window.at)


def _sequence(window: Window) -> Iterator[Value]:
    """Values one after another, which may be a jsonl file by another name."""
    lines = _ByLines(window)
    while window.peek():
        yield lines.value()


class _ByLines:
    """Reads values, and goes on behind a malformed one if every one so far had its own line.

    Attributes:
        passed_over: the last one that was malformed, or None.
    """

    def __init__(self, window: Window) -> None:
        self.passed_over: Value | None = None
        self._window = window
        self._by_lines, self._count = True, 0

    def value(self) -> Value:
        """The next value; a malformed one is passed over with its line, and has a fault.

        Raises:
            DataError: it is malformed, and nobody can tell where the next one begins.
        """
        try:
            value = self._window.value()
        except DataError as fault:
            if not (self._by_lines and self._count):
                raise
            self._window.next_line()
            self.passed_over = Value(None, "", True, fault)
            return self.passed_over
        self._by_lines = self._by_lines and value.one_line
        self._count += 1
        return value
