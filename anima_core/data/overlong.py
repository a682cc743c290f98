"""What becomes of examples longer than ``--max-length``: refused, dropped or cut."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from anima_core.batch import EncodedExample, TokenSegment
from anima_core.data.place import place
from anima_core.errors import DataError

if TYPE_CHECKING:
    from anima_core.config.core import Overlong

SHOWN = 3
"""How many places an error names."""


@dataclass
class Lengths:
    """How the examples of a data set stand to the limit, and what it took to bring them there.

    Attributes:
        overlong: how many were over the limit.
        dropped: how many of those were left out.
        truncated: how many of those were cut.
        split: how many of those were laid out as several.
        refused: how many of those may be neither; see `refusal`.
        first: file and line of the first ones refused, at most `SHOWN`.
        longest: tokens of the longest one refused.
        plain: whether all that were refused are plain text.
        all: tokens of every example, in order, where some may be refused.
    """

    overlong: int = 0
    dropped: int = 0
    truncated: int = 0
    split: int = 0
    refused: int = 0
    first: list[tuple[str, int]] = field(default_factory=list)
    longest: int = 0
    plain: bool = True
    all: array[int] = field(default_factory=lambda: array("I"))

    def refuse(self, example: EncodedExample) -> None:
        """Note an example that is over the limit and may not be made shorter or left out."""
        self.refused += 1
        self.longest = max(self.longest, example.longest)
        self.plain = self.plain and is_plain(example)
        if len(self.first) < SHOWN:
            self.first.append((example.file, example.line))

    def merge(self, later: Lengths) -> None:
        """Take in the lengths of the examples that follow."""
        self.overlong += later.overlong
        self.dropped += later.dropped
        self.truncated += later.truncated
        self.split += later.split
        self.refused += later.refused
        self.first = [*self.first, *later.first][:SHOWN]
        self.longest = max(self.longest, later.longest)
        self.plain = self.plain and later.plain
        self.all.extend(later.all)

    def refusal(self, limit: int, mode: Overlong) -> DataError | None:
        """The error for examples that may not be made shorter or left out; None without any.

        It says how many there are, which limits would keep them, and where the first ones are.
        """
        if not self.refused:
            return None
        count = len(self.all)
        most = sorted(self.all)[-(-95 * count // 100) - 1]
        places = ", ".join(place(file, line) for file, line in self.first)
        more = f" and {self.refused - SHOWN} more" if self.refused > SHOWN else ""
        keeps = (
            "" if most <= limit or most >= self.longest else f", --max-length {most} 95% of them"
        )
        whole = " and are no plain text, which alone can be split" if mode == "split" else ""
        parts = ", --overlong split lays plain text out as several" if self.plain else ""
        return DataError(
            f"{self.refused} of {count} examples are longer than {limit} tokens{whole} "
            f"(the longest has {self.longest}): {places}{more}",
            where="--max-length" if mode == "error" else "--overlong split",
            fix=f"--max-length {self.longest} keeps all{keeps}; --overlong drop leaves the long "
            f"ones out, --overlong truncate cuts their context from the left{parts}",
        )


def fit(
    examples: Sequence[EncodedExample], limit: int, mode: Overlong, lengths: Lengths
) -> list[EncodedExample]:
    """Bring examples within a limit.

    Args:
        examples: some encoded examples.
        limit: tokens of the longest sequence allowed; a continuation counts with its parent.
        mode: ``error`` refuses, ``drop`` leaves overlong examples out, ``truncate`` cuts their
            context from the left and drops those whose answer alone is too long, ``split`` lays
            plain text out as several examples and refuses others.
        lengths: counts what becomes of them, and notes those refused.

    Returns:
        Those that are left, in order; what was refused is not among them.
    """
    kept: list[EncodedExample] = []
    for example in examples:
        if mode in ("error", "split"):
            lengths.all.append(example.longest)
        if example.longest <= limit:
            kept.append(example)
            continue
        lengths.overlong += 1
        if mode == "split" and is_plain(example):
            kept += split(example, limit)
            lengths.split += 1
        elif mode in ("error", "split"):
            lengths.refuse(example)
        elif mode == "truncate" and (cut := truncate(example, limit)) is not None:
            kept.append(cut)
            lengths.truncated += 1
        else:
            lengths.dropped += 1
    return kept


def is_plain(example: EncodedExample) -> bool:
    """Whether an example is text that is learnt whole, so that any part of it can be."""
    (first, *others) = example.segments
    return not others and all(first.supervised[1:])


def split(example: EncodedExample, limit: int) -> list[EncodedExample]:
    """Lay plain text out as several examples of at most `limit` tokens.

    Each part begins with the last token of the one before it, which is no target there, so that
    every token of the text is learnt exactly once.

    Args:
        example: one segment, all of it learnt but the first token.
        limit: at least 2.
    """
    (segment,) = example.segments
    starts = range(0, len(segment.ids) - 1, limit - 1)
    return [replace(example, segments=(segment.part(at, at + limit),)) for at in starts]


def truncate(example: EncodedExample, limit: int) -> EncodedExample | None:
    """Cut each root's context from the left until it and its continuations fit.

    The last answer stays whole, with at least one token before it to predict its first; the
    new first token of a root is no target, since nothing predicts it.

    Returns:
        The shorter example, or None where the last answer is too long by itself.
    """
    segments = []
    for index, segment in enumerate(example.segments):
        if segment.parent >= 0:
            segments.append(segment)
            continue
        after = [len(s.ids) for s in example.segments if s.parent == index]
        excess = len(segment.ids) + max(after, default=0) - limit
        if excess <= 0:
            segments.append(segment)
            continue
        needed = len(segment.ids) if after else _last_answer(segment)
        if excess >= needed:
            return None
        segments.append(segment.part(excess))
    return replace(example, segments=tuple(segments))


def _last_answer(segment: TokenSegment) -> int:
    """Where the last run of supervised tokens begins; 0 where there is none."""
    at = len(segment.ids)
    while at and not segment.supervised[at - 1]:
        at -= 1
    while at and segment.supervised[at - 1]:
        at -= 1
    return at
