"""Coercions shared by option models."""

from __future__ import annotations


def one_or_many(value: object) -> object:
    """A single string counts as a tuple of one; None as none; other values pass unchanged."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(value)
    return value
