"""What is there more than once: examples, prompts, answers, pairs the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anima_core.data.audit.noted import SHOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anima_core.data.audit.rows import Rows

    Numbers = NDArray[np.unsignedinteger[Any]]

LISTED = 5
"""How many answers are listed."""


@dataclass(frozen=True)
class Groups:
    """Rows that share something with others.

    Attributes:
        groups: how many different things are shared.
        extra: how many rows there are beyond the first of each.
        members: for the first groups, in the order of their first rows, some of their rows.
    """

    groups: int
    extra: int
    members: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class SameAnswer:
    """An answer that is given more than once.

    Attributes:
        count: how often.
        prompts: to how many different prompts.
        text: how it begins; empty where that was not remembered.
        rows: the first rows that have it.
    """

    count: int
    prompts: int
    text: str
    rows: tuple[int, ...]


def same(keys: Numbers) -> Groups:
    """The rows with equal keys.

    Args:
        keys: ``[E]`` hashes.
    """
    order = np.argsort(keys, kind="stable")
    starts, sizes = _runs(keys[order])
    many = sizes > 1
    starts, sizes = starts[many], sizes[many]
    firsts = np.argsort(order[starts], kind="stable")[:SHOWN]
    members = tuple(
        tuple(map(int, order[starts[g] : starts[g] + min(sizes[g], SHOWN)])) for g in firsts
    )
    return Groups(len(sizes), int(sizes.sum() - len(sizes)), members)


def one_prompt_other_answers(rows: Rows) -> Groups:
    """The rows, each different, that ask what another row asks."""
    _, first = np.unique(rows["digest"], return_index=True)
    first.sort()
    found = same(rows["asked"][first])
    members = tuple(tuple(int(first[row]) for row in group) for group in found.members)
    return Groups(found.groups, found.extra, members)


def same_answers(rows: Rows, texts: Mapping[int, str]) -> tuple[SameAnswer, ...]:
    """The answers that are given to most prompts, each to at least two.

    Args:
        rows: every example.
        texts: how answers begin, by their hash.
    """
    answers = rows["answer"]
    order = np.argsort(answers, kind="stable")
    starts, sizes = _runs(answers[order])
    found: list[SameAnswer] = []
    by_size = np.argsort(-sizes, kind="stable")
    for group in by_size:
        size = int(sizes[group])
        if size < 2 or (len(found) >= LISTED and size <= found[LISTED - 1].prompts):
            break
        own = order[starts[group] : starts[group] + size]
        prompts = len(np.unique(rows["asked"][own]))
        if prompts > 1:
            text = texts.get(int(answers[own[0]]), "")
            found.append(SameAnswer(size, prompts, text, tuple(map(int, own[:SHOWN]))))
            found.sort(key=lambda a: -a.prompts)
    return tuple(found[:LISTED])


def contradictions(rows: Rows) -> Groups:
    """Pairs whose two answers another pair has the other way round."""
    pairs = rows[rows["pair"] != 0]
    where = np.flatnonzero(rows["pair"] != 0)
    _, first = np.unique(pairs["digest"], return_index=True)
    first.sort()
    found = same(pairs["pair"][first])
    members = tuple(tuple(int(where[first[row]]) for row in group) for group in found.members)
    return Groups(found.groups, found.extra, members)


def _runs(ordered: Numbers) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where runs of equal values begin in a sorted array, and how long they are."""
    if not len(ordered):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return starts, np.diff(np.append(starts, len(ordered)))
