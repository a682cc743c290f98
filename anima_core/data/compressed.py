"""Files as bytes, decompressed on the way, and what a file is by its name and first bytes."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import cast

from anima_core.config.paths import home_expanded
from anima_core.errors import DataError

COMPRESSIONS = (".gz", ".zst")
"""Suffixes of the compressed files that are read."""

_BINARY = {
    b"\x1f\x8b": ("gzip", ".gz"),
    b"\x28\xb5\x2f\xfd": ("zstd", ".zst"),
    b"PAR1": ("parquet", ".parquet"),
    b"ARROW1": ("arrow", ".arrow"),
    b"PK\x03\x04": ("zip (or a spreadsheet)", ""),
    b"BZh": ("bzip2", ""),
    b"\xfd7zXZ": ("xz", ""),
}
_AT_ONCE = 2**17  # bytes that are decompressed in one go
_WIDE = (b"\xff\xfe", b"\xfe\xff")


def suffixes(name: str | PurePath) -> tuple[str, str]:
    """What a file's name says of it: its kind and its compression.

    Returns:
        Two lower-case suffixes with their dots, e.g. ``(".jsonl", ".gz")``; the second is empty
        for a file that is not compressed.
    """
    path = PurePath(name)
    last = path.suffix.lower()
    if last in COMPRESSIONS:
        return PurePath(path.stem).suffix.lower(), last
    return last, ""


@contextmanager
def opened(source: str) -> Iterator[io.BufferedReader]:
    """A file's bytes, decompressed by its suffix.

    Raises:
        DataError: it cannot be opened, or reading it fails inside of the block: it is cut short,
            damaged, or not compressed as its name says.
    """
    compression = suffixes(source)[1]
    try:
        with _raw(home_expanded(source), compression) as stream:
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(source, error) from None
    except OSError as error:
        if compression == ".zst" and error.errno is None:  # how pyarrow tells of damage
            raise _damaged(source, error) from None
        raise DataError(f"cannot be read: {error.strerror or error}", where=source) from None


def _raw(path: Path, compression: str) -> io.BufferedReader:
    if not compression:
        return path.open("rb")
    if compression == ".gz":
        return io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(path, "rb")), _AT_ONCE)
    import pyarrow

    file = pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")
    return io.BufferedReader(file, _AT_ONCE)


def _damaged(source: str, error: BaseException) -> DataError:
    said = str(error).strip().rstrip(".") or type(error).__name__
    return DataError(
        f"cannot be decompressed: {said[:1].lower()}{said[1:]}",
        where=source,
        fix="the file is cut short, damaged, or not compressed as its name says: fetch it again",
    )


def refuse_other_than_text(stream: io.BufferedReader, source: str) -> None:
    """Name what a text file really is.

    Args:
        stream: at the file's first byte, where it stays.
        source: the file, for the message.

    Raises:
        DataError: it is UTF-16, compressed, or a table in binary form.
    """
    head = stream.peek(8)[:8]
    for magic, (name, suffix) in _BINARY.items():
        if head.startswith(magic):
            raise DataError(
                f"looks like {name}, where text was expected",
                where=source,
                fix=f"give it a name that ends in {suffix}" if suffix else "unpack it first",
            )
    if head.startswith(_WIDE) or _every_other_is_zero(head):
        raise DataError(
            "looks like UTF-16; text must be UTF-8",
            where=f"{source}:1",
            fix="convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW",
        )


def _every_other_is_zero(head: bytes) -> bool:
    """Whether this is UTF-16 of Latin letters without its byte-order mark."""
    if len(head) < 4:
        return False
    zero = [byte == 0 for byte in head[:4]]
    return zero in ([True, False] * 2, [False, True] * 2)
