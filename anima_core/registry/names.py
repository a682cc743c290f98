"""How strategies and distributions are written: kebab-case, snake_case, and the nearest word."""

from __future__ import annotations

import re
from collections.abc import Iterable

CORE_DISTRIBUTION = "anima-adapt"
"""The core's own distribution, whose strategies answer a slot when nobody else does."""

_KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def is_kebab(name: str) -> bool:
    """Whether a name is fit to be a strategy's: lower-case words joined by single hyphens."""
    return _KEBAB.fullmatch(name) is not None


def kebab(name: str) -> str:
    """``paged_adamw`` as it is written on the command line: ``paged-adamw``."""
    return name.replace("_", "-")


def snake(name: str) -> str:
    """``paged-adamw`` as it is written in files and in Python: ``paged_adamw``."""
    return name.replace("-", "_")


def normalized_distribution(name: str) -> str:
    """A distribution's name in the one spelling that compares equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def split_reference(reference: str) -> tuple[str, str]:
    """Split ``dist:name`` into its two halves, each in its one spelling; no ``dist`` is ``""``."""
    distribution, colon, name = reference.rpartition(":")
    return (normalized_distribution(distribution) if colon else "", kebab(name))


def canonical_reference(reference: str) -> str:
    """``name`` or ``dist:name`` in its one spelling: kebab-case, ``dist:`` kept."""
    distribution, name = split_reference(reference)
    return f"{distribution}:{name}" if distribution else name


def nearest(word: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """The candidates most like a word that was not understood, best first.

    What all of them begin with (``--``, ``--qlora.``) makes none of them likelier.
    """
    import difflib

    known = sorted(set(candidates))
    head = word[: word.rfind(".") + 1] or "--"
    cut = len(head) if all(name.startswith(head) for name in (word, *known)) else 0
    tails = {name[cut:]: name for name in known}
    return [tails[t] for t in difflib.get_close_matches(word[cut:], tails, n=limit, cutoff=0.6)]


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """``did you mean A or B?``, or nothing when no candidate is near."""
    found = nearest(word, candidates)
    return f"did you mean {' or '.join(found)}?" if found else ""
