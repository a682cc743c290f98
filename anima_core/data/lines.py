"""The lines of a text file, one at a time; a bad one does not end the file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

from anima_core.data.compressed import opened, refuse_other_than_text
from anima_core.data.excerpt import excerpt
from anima_core.errors import DataError

LIMIT = 64 * 2**20
"""Bytes of the longest line, value or text that is read as one: some 16 million tokens."""

BOM = "\ufeff"


class Line(NamedTuple):
    """A line and what is wrong with it.

    Attributes:
        number: from 1.
        text: with its line end; bytes that are not UTF-8 are lone surrogates, and a line that is
            too long is empty but for its end.
        fault: why it cannot be used, or None.
    """

    number: int
    text: str
    fault: DataError | None


def lines(source: str) -> Iterator[Line]:
    """The lines of a file, decompressed by its suffix, a byte-order mark removed.

    Takes memory for one line, and never for more than `LIMIT` bytes of it.

    Raises:
        DataError: it cannot be opened or decompressed, or is not text in UTF-8 at all.
    """
    number = 0
    with opened(source) as stream:
        refuse_other_than_text(stream, source)
        while raw := stream.readline(LIMIT + 1):
            number += 1
            if len(raw) > LIMIT and not raw.endswith(b"\n"):
                _pass_over(stream)
                yield Line(number, "\n", too_long("a line", f"{source}:{number}"))
            else:
                yield _line(raw, source, number)


def _pass_over(stream: io.BufferedReader) -> None:
    """Read to the line's end and forget it."""
    while (rest := stream.readline(2**20)) and not rest.endswith(b"\n"):
        pass


def _line(raw: bytes, source: str, number: int) -> Line:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        text = raw.decode("utf-8", "surrogateescape")
        at = len(raw[: error.start].decode("utf-8"))
        return Line(number, text, not_utf8(text, at, f"{source}:{number}"))
    fault = None
    if "\0" in text:
        fault = nul_byte(text, text.index("\0"), f"{source}:{number}")
    return Line(number, text.removeprefix(BOM) if number == 1 else text, fault)


def too_long(what: str, where: str, fix: str = "") -> DataError:
    """The error for what exceeds `LIMIT`."""
    return DataError(
        f"{what} is longer than {LIMIT // 2**20} MiB",
        where=where,
        fix=fix or "one record is one example to learn from: divide it into shorter ones",
    )


def not_utf8(text: str, at: int, where: str) -> DataError:
    """The error for a byte that is not UTF-8.

    Args:
        text: decoded with ``surrogateescape``.
        at: where the byte stands in it.
        where: the place, without the column.
    """
    return DataError(
        f"byte 0x{ord(text[at]) & 0xFF:02x} is not UTF-8; text must be UTF-8{excerpt(text, at)}",
        where=where,
        fix="convert it, e.g. iconv -f LATIN1 -t UTF-8 OLD > NEW (with its own encoding)",
    )


def nul_byte(text: str, at: int, where: str) -> DataError:
    """The error for a NUL byte, which no text holds."""
    return DataError(
        f"holds a NUL byte, which is no text{excerpt(text, at)}",
        where=where,
        fix="the file is damaged, or not text; `tr -d '\\0' < OLD > NEW` removes such bytes",
    )
