"""What is kept of every example: some 90 bytes of numbers, never its text."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anima_core.batch import EncodedExample, Role, TokenSegment
from anima_core.data.pair_key import pair_key, prompt_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[Any]

ROW = np.dtype(
    [
        ("tokens", "i4"),
        ("longest", "i4"),
        ("supervised", "i4"),
        ("chosen", "i4"),
        ("rejected", "i4"),
        ("kept", "i4"),
        ("kept_longest", "i4"),
        ("kept_prompt", "i4"),
        ("source", "i4"),
        ("file", "i4"),
        ("line", "i8"),
        ("digest", "u8"),
        ("prompt", "u8"),
        ("asked", "u8"),
        ("answer", "u8"),
        ("pair", "u8"),
        ("label", "i1"),
        ("sequences", "i1"),
    ]
)
"""One example.

``tokens``, ``longest``, ``supervised``: as `EncodedExample` has them. ``chosen``, ``rejected``:
targets of a pair's two answers. ``kept``, ``kept_longest``, ``kept_prompt``: its tokens, its
longest sequence and its first segment (the prompt, where answers continue it) as a run has it,
which ``--overlong`` decides; 0 where it is left out. ``source``: index of the DATA argument.
``file``: index into the list of files. ``digest``: hash of ids and masks. ``prompt``: the
example's group, which examples that ask the same share. ``asked``: hash of the prompt that its
answers continue, its group where there is none. ``answer``: hash of the targets' ids (of a pair:
of the better answer's). ``pair``: hash of a pair in which the two answers may be swapped.
``label``: 1 good, 0 bad, -1 without. ``sequences``: how many there are of it where a shared prompt
is repeated.
"""


def row_of(
    example: EncodedExample,
    kept: EncodedExample | None,
    source: int,
    file: int,
    label: bool | None = None,
) -> tuple[int, ...]:
    """An example as a row of `ROW`.

    Args:
        example: the example.
        kept: the example as a run has it; None where it is left out.
        source: index of its source.
        file: index of its file.
        label: the verdict on it, where it has one.
    """
    segments = example.segments
    chosen = rejected = 0
    if len(segments) == 3:
        chosen, rejected = (sum(answer.supervised) for answer in segments[1:])
    return (
        example.tokens,
        example.longest,
        example.supervised,
        chosen,
        rejected,
        kept.tokens if kept else 0,
        kept.longest if kept else 0,
        len(kept.segments[0].ids) if kept else 0,
        source,
        file,
        example.line,
        _hash(segments),
        example.group,
        prompt_key(example) or example.group,
        answer_key(example),
        pair_key(example),
        -1 if label is None else int(label),
        max(1, len(segments) - 1),
    )


def targets(segment: TokenSegment) -> list[int]:
    """The ids of a segment's targets."""
    return [index for index, wanted in zip(segment.ids, segment.supervised, strict=True) if wanted]


def answers_of(example: EncodedExample) -> tuple[TokenSegment, ...]:
    """The segments that hold answers."""
    return tuple(s for s in example.segments if s.role != Role.PROMPT)


def answer_key(example: EncodedExample) -> int:
    """A hash of what an example teaches to answer: of a pair, of the better answer."""
    segments = example.segments
    return hash_ids(targets(segments[1] if len(segments) > 1 else segments[0]))


def hash_ids(ids: Iterable[int]) -> int:
    """64 bits that stand for a sequence of ids."""
    digest = hashlib.blake2b(array("I", ids).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _hash(segments: Sequence[TokenSegment]) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for segment in segments:
        digest.update(b"%d;" % len(segment.ids))
        digest.update(array("I", segment.ids).tobytes())
        digest.update(bytes(segment.supervised))
    return int.from_bytes(digest.digest(), "little")
