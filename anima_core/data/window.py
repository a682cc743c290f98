"""A window on a JSON text of any length: values are decoded while the file is read in chunks."""

from __future__ import annotations

import codecs
import io
import json
import re
from typing import Any, NamedTuple

from anima_core.data.excerpt import excerpt
from anima_core.data.json_advice import advice
from anima_core.data.lines import BOM, LIMIT, not_utf8, nul_byte, too_long
from anima_core.errors import DataError

CHUNK = 2**20
"""Bytes that are read at once."""

_SPACE = re.compile(r"[ \t\r\n]*")
_BEHIND = re.compile(r"[ \t\r]*,?[ \t\r]*")
_NO_UTF8 = re.compile(r"[\udc80-\udcff]")  # what surrogateescape makes of such bytes
_TAIL = 32  # no literal, number's exponent or escape that a chunk's end may cut is as long
_decoder = json.JSONDecoder()


class Value(NamedTuple):
    """A decoded value.

    Attributes:
        value: what it is.
        text: what it was decoded from.
        one_line: whether that has no line break inside of it and is followed by one, perhaps
            behind a comma, or by nothing.
        fault: why it cannot be used, e.g. bytes in it that are not UTF-8.
    """

    value: Any
    text: str
    one_line: bool
    fault: DataError | None


class Window:
    """The part of a text that is being decoded.

    A value that the window's end cuts is decoded anew when there is more of it. What is read is
    doubled each time, so that all attempts together take time in proportion to its length.

    Attributes:
        at: index of the next character; what lies before it may be forgotten.
    """

    def __init__(self, stream: io.BufferedReader, source: str, chunk: int = CHUNK) -> None:
        """Begin at a file's begin.

        Args:
            stream: the bytes.
            source: the file, for messages.
            chunk: bytes that are read at once, at least.
        """
        self.at = 0
        self._stream, self._source, self._chunk = stream, source, chunk
        self._text = ""
        self._cut = b""  # the begun character at the end of what was read
        self._torn = False
        self._line, self._column = 1, 1  # of the text's first character
        self._begun = False

    def peek(self) -> str:
        """The next character that is no white space, at `at`; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self._text):
                return self._text[self.at]
            if not self._more():
                return ""

    def value(self) -> Value:
        """Decode the value at `at` and move behind it.

        Raises:
            DataError: it is malformed, or longer than is read as one; `at` stays.
        """
        while True:
            try:
                value, end = _decoder.raw_decode(self._text, self.at)
            except RecursionError:
                raise self.malformed("nested too deeply", self.at) from None
            except ValueError as error:
                if self._is_certain(error) or not self._more():
                    at = error.pos if isinstance(error, json.JSONDecodeError) else self.at
                    what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                    raise self.malformed(what, at) from None
                continue
            # A number at the end may go on, and so may the line.
            whole = isinstance(value, str | list | dict) or end + _TAIL <= len(self._text)
            whole = whole and self._behind(end) < len(self._text)
            if whole or not self._more():
                return self._take(value, end)

    def next_line(self) -> None:
        """Move behind the next line break."""
        while (end := self._text.find("\n", self.at)) < 0:
            self.at = len(self._text)
            if not self._more():
                return
        self.at = end + 1

    def malformed(self, what: str, at: int) -> DataError:
        """The error for what is wrong at an index of the text."""
        where = self._place(at)
        found = self._text[at : at + 1]
        if found == "\0":
            return nul_byte(self._text, at, where)
        if found and _NO_UTF8.match(found):
            return not_utf8(self._text, at, where)
        fix = advice(what, self._text, at)
        return DataError(f"malformed JSON: {what}{excerpt(self._text, at)}", where=where, fix=fix)

    def _take(self, value: Any, end: int) -> Value:
        text, begin = self._text[self.at : end], self.at
        self.at = end
        fault = None
        if self._torn and (match := _NO_UTF8.search(text)):
            at = begin + match.start()
            fault = not_utf8(self._text, at, self._place(at))
        behind = self._behind(end)
        after = self._text[behind : behind + 1]
        return Value(value, text, "\n" not in text and after in ("", "\n"), fault)

    def _behind(self, end: int) -> int:
        """Where something other than spaces and one comma stands behind a value."""
        match = _BEHIND.match(self._text, end)
        return match.end() if match else end

    @staticmethod
    def _is_certain(error: ValueError) -> bool:
        """Whether no more text can make it right."""
        if not isinstance(error, json.JSONDecodeError):
            return False
        return not error.msg.startswith("Unterminated") and len(error.doc) - error.pos > _TAIL

    def _place(self, at: int) -> str:
        line = self._line + self._text.count("\n", 0, at)
        last = self._text.rfind("\n", 0, at)
        column = at - last if last >= 0 else self._column + at
        return f"{self._source}:{line}:{column}"

    def _more(self) -> bool:
        """Forget what lies before `at` and read on.

        Returns:
            Whether there was more.

        Raises:
            DataError: what lies behind `at` is as long as anything may be.
        """
        kept = len(self._text) - self.at
        if kept > LIMIT:
            fix = "a quote or a bracket may lack its other end; if not, divide the record"
            raise too_long("a record", self._place(self.at), fix)
        size = max(self._chunk, min(kept, LIMIT - kept))
        data = self._cut + self._stream.read(size)
        final = len(data) == len(self._cut)
        if final and not data:
            return False
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError:
            text, used = codecs.utf_8_decode(data, "surrogateescape", final)
            self._torn = True
        self._cut = data[used:]
        if not self._begun and text:
            text, self._begun = text.removeprefix(BOM), True
        self._advance()
        self._text += text
        return True

    def _advance(self) -> None:
        """Drop the text before `at`, but keep count of lines and columns."""
        breaks = self._text.count("\n", 0, self.at)
        last = self._text.rfind("\n", 0, self.at)
        self._column = self.at - last if breaks else self._column + self.at
        self._line += breaks
        self._text, self.at = self._text[self.at :], 0
