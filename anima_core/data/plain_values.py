"""Counts as JSON values, and back, with every file by its number instead of its name.

What was counted of a file holds for the same bytes under another name.
"""

from __future__ import annotations

import re
import zlib
from array import array
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from anima_core.errors import DataError

T = TypeVar("T")
Renamed = Callable[[str], str]


class _Array:
    """Stands for `array` in hints: before Python 3.12 it takes no index."""

    def __class_getitem__(cls, _: object) -> type[array[int]]:
        return array


_NUMBERED = re.compile(r"\0(\d+)\0")


def told(value: Any, names: Sequence[str]) -> Any:
    """A dataclass of counts, names, lists, faults and other such dataclasses as JSON values.

    Args:
        value: the dataclass.
        names: the names of the files.
    """
    numbers = {name: index for index, name in reversed(list(enumerate(names)))}

    def numbered(where: str) -> str:
        for name in (where, where.rpartition(":")[0], *_heads(where)):
            if name in numbers:
                return f"\0{numbers[name]}\0{where[len(name) :]}"
        return where

    return _told(value, numbered)


def retold(kind: type[T], values: Any, names: Sequence[str]) -> T:
    """What `told` was given.

    Args:
        kind: the dataclass.
        values: what it gave.
        names: the names that the same files have now.

    Raises:
        KeyError, TypeError, ValueError, IndexError: it gave no such thing.
    """

    def named(where: str) -> str:
        return _NUMBERED.sub(lambda match: names[int(match[1])], where)

    return _retold(kind, values, named)  # type: ignore[no-any-return]


def _heads(where: str) -> list[str]:
    """What a place may begin with: ``file:line:column``, ``file:line (record number)``."""
    return [where[: match.start()] for match in re.finditer(r":\d", where)]


def _told(value: Any, numbered: Renamed) -> Any:
    if isinstance(value, DataError):
        return {"what": value.what, "where": numbered(value.where), "fix": value.fix}
    if is_dataclass(value):
        return {
            field.name: numbered(part) if field.name == "file" else _told(part, numbered)
            for field in fields(value)
            for part in (getattr(value, field.name),)
        }
    if isinstance(value, Mapping):
        return {name: _told(part, numbered) for name, part in value.items()}
    if isinstance(value, array):
        return b64encode(zlib.compress(value.tobytes(), 1)).decode()
    if isinstance(value, list | tuple):
        return [_told(part, numbered) for part in value]
    return value


def _retold(kind: Any, values: Any, named: Renamed) -> Any:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is DataError:
        return DataError(values["what"], where=named(values["where"]), fix=values["fix"])
    if isinstance(origin, type) and is_dataclass(origin):
        hints = get_type_hints(origin, localns={"array": _Array})
        return origin(
            **{
                field.name: named(values[field.name])
                if field.name == "file"
                else _retold(hints[field.name], values[field.name], named)
                for field in fields(origin)
            }
        )
    if origin in (dict, list, tuple):
        return _container(origin, inner, values, named)
    if origin is Counter:
        return Counter(dict(values))
    if origin is array:
        return array("I", zlib.decompress(b64decode(values)))
    if origin is not type(None) and not isinstance(values, origin):
        raise TypeError(f"{values!r} is no {origin}")
    return values


def _container(origin: Any, inner: tuple[Any, ...], values: Any, named: Renamed) -> Any:
    if origin is dict:
        return {name: _retold(inner[1], part, named) for name, part in values.items()}
    if origin is list:
        return [_retold(inner[0], part, named) for part in values]
    return tuple(_retold(k, part, named) for k, part in zip(inner, values, strict=True))
