"""Coercions shared by option models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction


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


def shares(value: object) -> object:
    """``source=share`` texts, one or many, or a mapping, as a tuple of texts.

    A source may hold an equals sign itself: the last one counts.

    Raises:
        ValueError: one of them has no source, no share or none above 0, or a source is given twice.
    """
    if isinstance(value, Mapping):
        value = [f"{name}={share}" for name, share in value.items()]
    texts = one_or_many(value)
    names = set()
    for text in texts if isinstance(texts, tuple) else ():
        name, _, share = str(text).rpartition("=")
        if not name:
            raise ValueError(f"expected source=share, found {text!r}")
        if name in names:
            raise ValueError(f"{name!r} is given twice")
        if _fraction(share) <= 0:
            raise ValueError(f"expected a number above 0 as the share of {name!r}, found {share!r}")
        names.add(name)
    return texts


def shares_of(texts: Iterable[str]) -> dict[str, Fraction]:
    """What `shares` accepted, as a mapping."""
    parted = (text.rpartition("=") for text in texts)
    return {name: _fraction(share) for name, _, share in parted}


def _fraction(text: str) -> Fraction:
    """A decimal number or a fraction, exactly; 0 where it is none."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return Fraction(0)
