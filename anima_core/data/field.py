"""One field of a record: its text, and the error for one that is not what it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anima_core.contracts import Record
from anima_core.data.place import place
from anima_core.errors import DataError

_AS_TEXT = "write it as text, or name the column that holds the text: --columns {}=COLUMN"


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
        file = "bytes" in value and set(value) <= {"bytes", "path", "type"}
        names = f"an object with {', '.join(map(str, value)) or 'no fields'}"
        return "bytes (an image, a sound or another file)" if file else names
    if isinstance(value, Sequence):
        return f"a list of {len(value)}"
    return f"a {type(value).__name__}"


def text(record: Record, field: str, value: object, *, empty: bool = False) -> str:
    """A field's value as text, unchanged.

    Raises:
        DataError: it is no text, it is empty (unless `empty`), or it is not valid Unicode.
    """
    if not isinstance(value, str):
        fix = "" if "." in field or "[" in field else _AS_TEXT.format(field)
        raise bad_field(record, field, shown(value), "text", fix)
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
