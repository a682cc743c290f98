"""Plain JSON values of what a columnar file holds."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

_PLAIN = ("bool", "null", "string", "large_string", "string_view", "float", "double", "halffloat")


def is_plain(kind: Any) -> bool:
    """Whether values of an Arrow type come as plain JSON values.

    Args:
        kind: a ``pyarrow.DataType``.
    """
    import pyarrow.types as t

    if t.is_struct(kind):
        return all(is_plain(kind.field(n).type) for n in range(kind.num_fields))
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        return is_plain(kind.value_type)
    if t.is_dictionary(kind):
        return is_plain(kind.value_type)
    return t.is_integer(kind) or str(kind) in _PLAIN


def plain(value: Any) -> Any:
    """A value as JSON has it.

    Text stays, and so do numbers, lists and objects; dates and times become ISO 8601; a decimal
    becomes a number; a map becomes an object; bytes become text if they are UTF-8. Anything else
    becomes an object that tells its type, so that nobody takes it for text.
    """
    if value is None or isinstance(value, str | int | float):  # bool is an int
        return value
    if isinstance(value, dict):
        return {str(plain(name)): plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"type": "binary", "bytes": len(value)}
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    return {"type": type(value).__name__}
