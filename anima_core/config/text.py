"""Read a value that was typed as text, by the type that its field has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel

NONE = "none"
"""How the absence of a value is typed for an option whose default is a value."""


def from_text(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with text made into what pydantic does not make of it by itself.

    A choice that is no string (``Literal[4, 8]``) is found by its text, ``none`` is no value
    for an optional number and wherever the default is a value, and a mapping is read as JSON.
    All else is left to pydantic.
    """
    read = {}
    for name, value in values.items():
        field = model.model_fields.get(name)
        if field is not None and isinstance(value, str):
            nothing = optional(field.annotation) and (
                str not in members(field.annotation) or field.get_default() is not None
            )
            read[name] = _read(field.annotation, value, nothing)
        else:
            read[name] = value
    return read


def members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, without ``None`` and ``Annotated``; of another type, itself."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(m for part in get_args(annotation) for m in members(part))
    return () if annotation is NoneType else (annotation,)


def optional(annotation: Any) -> bool:
    """Whether a type takes ``None``."""
    if get_origin(annotation) is Annotated:
        return optional(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return any(optional(part) for part in get_args(annotation))
    return annotation is NoneType


def literals(annotation: Any) -> tuple[Any, ...]:
    """The values of the ``Literal`` types among a type's members."""
    return tuple(
        value
        for member in members(annotation)
        if get_origin(member) is Literal
        for value in get_args(member)
    )


def is_list(annotation: Any) -> bool:
    """Whether a type takes several values: a list, tuple or set is among its members."""
    return any((get_origin(m) or m) in (list, tuple, set, frozenset) for m in members(annotation))


def _read(annotation: Any, text: str, nothing: bool) -> Any:
    words = literals(annotation)
    if text in words:
        return text
    for value in words:
        if not isinstance(value, str) and str(value).lower() == text.lower():
            return value
    if nothing and text.lower() == NONE:
        return None
    if any((get_origin(m) or m) in (dict, Mapping) for m in members(annotation)):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text
