"""Coercions shared by option models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def one_or_many(value: object) -> object:
    """A single string counts as a tuple of one; None as none; other values pass unchanged."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(value)
    return value


def pairs(value: object) -> object:
    """``name=value`` texts, one or many, or a mapping, as a tuple of texts.

    Raises:
        ValueError: one of them has no name, or a name is given twice.
    """
    if isinstance(value, Mapping):
        value = [f"{name}={text}" for name, text in value.items()]
    texts = one_or_many(value)
    names = set()
    for text in texts if isinstance(texts, tuple) else ():
        name, equals, _ = str(text).partition("=")
        if not name or not equals:
            raise ValueError(f"expected name=value, found {text!r}")
        if name in names:
            raise ValueError(f"{name!r} is given twice")
        names.add(name)
    return texts


def pairs_of(texts: Iterable[str]) -> dict[str, str]:
    """What `pairs` accepted, as a mapping."""
    return dict(text.split("=", 1) for text in texts)
