"""What the cache has of the same sources and model, but made under another configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anima_core.training.reference_cache import HEADER

if TYPE_CHECKING:
    from anima_core.training.reference_cache import ReferenceEntry

WORDS = {
    "rows": "other examples of it",
    "start": "another start",
    "attention": "another kernel of attention",
    "tokens": "other micro-batches",
    "versions": "other versions of Python or of libraries",
    "code": "other code of Anima's",
    "plugins": "other code of a plugin's",
}
"""Facts whose values say nothing to a person."""

SAME = ("part", "sources")
"""What an entry tells of itself that must be the same, or it is about something else."""


def cached_otherwise(entry: ReferenceEntry) -> str:
    """In words, how the nearest entry of the same sources and model differs; empty without one.

    Args:
        entry: what is asked for, and is not there.
    """
    found: list[list[str]] = []
    for header in sorted(entry.folder.parent.glob(f"*/{HEADER}")):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # not one of ours
            theirs = json.loads(header.read_text("utf-8"))
            same = theirs["facts"]["model"] == entry.facts["model"]
            if same and all(theirs["told"][name] == entry.told[name] for name in SAME):
                found.append(list(_differences(theirs, entry.facts, entry.told)))
    differing = sorted((one for one in found if one), key=len)
    return ", ".join(differing[0]) if differing else ""


def _differences(
    theirs: Mapping[str, Any], facts: Mapping[str, Any], told: Mapping[str, Any]
) -> Iterator[str]:
    there = theirs["facts"]
    if there["data"] != facts["data"]:
        yield from list(_values("", theirs["told"], told)) or ["other records"]
    named = {name: there[name] for name in ("dtype", "device", "seed") if name in facts}
    yield from _values("--", named, facts)
    for name in sorted(there["strategies"].keys() | facts["strategies"].keys()):
        both = [side["strategies"].get(name) for side in (there, facts)]
        if None in both:
            yield f"a run {'without' if both[0] is None else 'with'} --{name}"
        else:
            yield from _values(f"--{name}.", *(side["options"] for side in both))
    follows = {"tokens": "dtype", "plugins": "strategies"}  # differs where that one does
    for name, words in WORDS.items():
        why = follows.get(name)
        if there.get(name) != facts.get(name) and (why is None or there[why] == facts[why]):
            yield words


def _values(before: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    for name, value in there.items():
        if value != here[name]:
            yield f"{before}{name.replace('_', '-')} {value}, not {here[name]}"
