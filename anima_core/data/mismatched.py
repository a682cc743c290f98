"""Answers to other prompts: what a loss estimates from that compares an answer with any answer.

KTO (Ethayarajh et al. 2024, arXiv:2402.01306, §4.1) estimates how far the model has moved from its
reference by the answers of other examples. Which one stands beside an example depends on the data
alone, so it is the same in every epoch, however steps and micro-batches are made up, and its
reference log-probs can be kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from anima_core.batch import EncodedExample, Role
from anima_core.data.rows import HASH
from anima_core.data.store import Columns, Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

NONE = -1
"""In the place of a row: there is none."""


class Mismatched(Examples):
    """Examples of unpaired feedback, each with the answer of another one behind its prompt.

    Args:
        examples: a prompt and an answer each.
        others: by row of `examples`, the row whose answer goes with it, or `NONE`, int64.
        rows: which rows, in which order; all of them when None.
    """

    def __init__(
        self,
        examples: Examples,
        others: NDArray[np.int64],
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self._examples = examples
        self._others = others
        self._wanted = np.arange(len(examples)) if rows is None else rows

    @property
    def without(self) -> int:
        """How many examples have no other's answer."""
        return int((self._others[self._wanted] == NONE).sum())

    def __len__(self) -> int:
        return len(self._wanted)

    def _at(self, row: int) -> EncodedExample:
        at = int(self._wanted[row])
        example, other = self._examples[at], int(self._others[at])
        if other == NONE:
            return example
        answer = replace(self._examples[other].segments[1], role=Role.MISMATCHED)
        return replace(example, segments=(*example.segments, answer))

    @cached_property
    def columns(self) -> Columns:
        """What is known of each example, the other's answer counted in."""
        own = self._examples.columns
        there = self._others != NONE
        other = np.where(there, self._others, 0)
        more = np.where(there, (own.tokens - own.prompt)[other], 0).astype(np.int32)
        whole = replace(
            own,
            tokens=own.tokens + more,
            longest=np.maximum(own.longest, own.prompt + more),
            supervised=own.supervised + np.where(there, own.supervised[other], 0).astype(np.int32),
            digest=_digests(own.digest, self._others),
        )
        return whole.take(self._wanted)

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Examples:
        """Some of the examples, in a given order; each keeps the answer that goes with it."""
        return Mismatched(self._examples, self._others, self._wanted[np.asarray(rows, np.int64)])


def mismatched(examples: Examples, limit: int) -> Mismatched:
    """Put the answer of another example behind each one's prompt, uncut.

    It is that of an example of the next prompt, the first coming after the last, or of the next
    one behind it that asks something else and whose answer fits (see `others`). Where none does,
    there is none.

    Args:
        examples: a prompt and an answer each.
        limit: tokens of the longest sequence allowed.
    """
    columns = examples.columns
    answers = columns.tokens - columns.prompt
    return Mismatched(examples, others(columns.group, columns.prompt, answers, limit))


def others(
    group: NDArray[np.uint64], prompt: NDArray[np.int32], answer: NDArray[np.int32], limit: int
) -> NDArray[np.int64]:
    """For each row one of another group whose answer fits its prompt.

    Rows of one group that follow each other, the first row coming after the last, are a run. The
    j-th row of a run begins with row j + group, modulo its size, of the run after it, and goes on
    from there, round the end, to the first that fits. So the rows of a run spread over those of
    the next, whatever order a prompt's good and bad answers stand in.

    Args:
        group: which rows ask the same: a hash, which is the offset too.
        prompt, answer: their tokens.
        limit: the most that prompt and answer may have together.

    Returns:
        Row numbers, int64; `NONE` where no row fits.
    """
    count = len(group)
    found = np.full(count, NONE, np.int64)
    begins = np.flatnonzero(group != np.roll(group, 1))
    if not len(begins):
        return found
    following = np.searchsorted(begins, np.arange(count), side="right")
    beyond = begins[following % len(begins)]
    waiting = np.flatnonzero(prompt + _shortest_elsewhere(group, answer) <= limit)
    at = _first_asked(group, begins, following)[waiting]
    while len(waiting):  # each of them fits somewhere
        fits = prompt[waiting] + answer[at] <= limit
        found[waiting[fits]] = at[fits]
        waiting, at = waiting[~fits], (at[~fits] + 1) % count
        at = np.where(group[at] == group[waiting], beyond[at], at)
    return found


def _first_asked(
    group: NDArray[np.uint64], begins: NDArray[np.int64], following: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each row the one of the next run that is looked at first.

    Args:
        group: which rows ask the same.
        begins: the first row of each run; there are several runs.
        following: for each row, the number of the run after its own.
    """
    count = len(group)
    number = (np.arange(count) - begins[following - 1]) % count  # within its run
    after = following % len(begins)
    size = ((np.roll(begins, -1) - begins) % count)[after]
    offset = (number + (group % size.astype(np.uint64)).astype(np.int64)) % size
    return np.asarray((begins[after] + offset) % count, np.int64)


def _shortest_elsewhere(group: NDArray[np.uint64], answer: NDArray[np.int32]) -> NDArray[np.int64]:
    """For each row the tokens of the shortest answer of another group; there are several groups."""
    least = int(np.argmin(answer))
    same = group == group[least]
    return np.asarray(np.where(same, answer[~same].min(), answer[least]), np.int64)


def _digests(digest: NDArray[np.bytes_], others: NDArray[np.int64]) -> NDArray[np.bytes_]:
    """Hashes of each example together with the one whose answer goes with it."""
    raw = digest.tobytes()
    own = [raw[at : at + HASH] for at in range(0, len(raw), HASH)]
    made = b"".join(
        one if other == NONE else hashlib.blake2b(one + own[other], digest_size=HASH).digest()
        for one, other in zip(own, others.tolist(), strict=True)
    )
    digests: NDArray[np.bytes_] = np.frombuffer(made, digest.dtype)
    return digests
