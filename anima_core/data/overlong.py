"""What becomes of examples over a limit: refused, dropped or made shorter."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from anima_core.batch import EncodedExample
from anima_core.data.limits import Limits, Sizes, is_plain, side
from anima_core.data.place import place
from anima_core.data.quantile import nearest_rank
from anima_core.errors import DataError

if TYPE_CHECKING:
    from anima_core.config.core import Overlong

SHOWN = 3
"""How many places an error names."""

_ARE = {
    "length": ("--max-length", "are longer than {} tokens"),
    "prompt": ("--max-prompt-length", "have a prompt of more than {} tokens"),
    "answer": ("--max-answer-length", "have an answer of more than {} tokens"),
}


@dataclass
class Over:
    """How the examples stand to one limit.

    Attributes:
        count: how many are over it.
        refused: how many of those may be neither cut nor left out.
        first: file and line of the first ones refused, at most `SHOWN`, and which side of a pair
            it is that is too long.
        sides: how many of those refused each side of a pair makes too long.
        longest: tokens of the longest one refused.
        all: tokens of every example that has what is limited, where some may be refused.
    """

    count: int = 0
    refused: int = 0
    first: list[tuple[str, int, str]] = field(default_factory=list)
    sides: Counter[str] = field(default_factory=Counter)
    longest: int = 0
    all: array[int] = field(default_factory=lambda: array("I"))

    def refuse(self, example: EncodedExample, size: int, side: str) -> None:
        """Note an example that is over the limit and may not be made shorter or left out."""
        self.refused += 1
        self.longest = max(self.longest, size)
        if side:
            self.sides[side] += 1
        if len(self.first) < SHOWN:
            self.first.append((example.file, example.line, side))

    def merge(self, later: Over) -> None:
        """Take in the examples that follow."""
        self.count += later.count
        self.refused += later.refused
        self.first = [*self.first, *later.first][:SHOWN]
        self.sides.update(later.sides)
        self.longest = max(self.longest, later.longest)
        self.all.extend(later.all)

    def what(self, limit: int, are: str, whole: str) -> str:
        """How many are over it, and the first ones' places."""
        places = ", ".join(
            place(file, line) + (f" ({side})" if side else "") for file, line, side in self.first
        )
        more = sides = ""
        if self.refused > SHOWN:
            more = f" and {self.refused - SHOWN} more"
            sides = "".join(f"; {count} by {side}" for side, count in self.sides.most_common())
        return (
            f"{self.refused} of {len(self.all)} examples {are.format(limit)}{whole} "
            f"(the longest has {self.longest}{sides}): {places}{more}"
        )

    def keeps(self, limit: int, flag: str) -> str:
        """Which limits would keep all of the examples, and 95% of them."""
        most = nearest_rank(sorted(self.all), 95)
        some = "" if most <= limit or most >= self.longest else f", {flag} {most} 95% of them"
        return f"{flag} {self.longest} keeps all{some}"


@dataclass
class Lengths:
    """How the examples of a data set stand to the limits, and what it took to keep to them.

    Attributes:
        overlong: how many were over a limit.
        dropped: how many of those were left out.
        truncated: how many of those were made shorter.
        split: how many of those were laid out as several.
        refused: how many of those may be neither; see `refusal`.
        plain: whether all that were refused are plain text.
        length, prompt, answer: how they stand to each limit.
    """

    overlong: int = 0
    dropped: int = 0
    truncated: int = 0
    split: int = 0
    refused: int = 0
    plain: bool = True
    length: Over = field(default_factory=Over)
    prompt: Over = field(default_factory=Over)
    answer: Over = field(default_factory=Over)

    def note(self, sizes: Sizes) -> None:
        """Note an example's sizes, where some example may be refused."""
        self.length.all.append(sizes.length)
        if sizes.prompt:
            self.prompt.all.append(sizes.prompt)
        if sizes.answer:
            self.answer.all.append(sizes.answer)

    def count(self, excess: Sizes) -> None:
        """Count an example that is over a limit."""
        self.overlong += 1
        for over, tokens in zip((self.length, self.prompt, self.answer), excess, strict=True):
            over.count += tokens > 0

    def refuse(self, example: EncodedExample, sizes: Sizes, excess: Sizes) -> None:
        """Note an example that is over a limit and may not be made shorter or left out."""
        self.refused += 1
        self.plain = self.plain and is_plain(example)
        limited = (self.length, self.prompt, self.answer)
        for over, size, tokens in zip(limited, sizes, excess, strict=True):
            if tokens > 0:
                alone = over is self.answer
                by = "" if over is self.prompt else side(example, size - tokens, alone=alone)
                over.refuse(example, size, by)

    def merge(self, later: Lengths) -> None:
        """Take in the lengths of the examples that follow."""
        self.overlong += later.overlong
        self.dropped += later.dropped
        self.truncated += later.truncated
        self.split += later.split
        self.refused += later.refused
        self.plain = self.plain and later.plain
        self.length.merge(later.length)
        self.prompt.merge(later.prompt)
        self.answer.merge(later.answer)

    def refusal(self, limits: Limits, mode: Overlong) -> DataError | None:
        """The error for examples that may not be made shorter or left out; None without any.

        It says how many there are over each limit, which limits would keep them, and where the
        first ones are.
        """
        if not self.refused:
            return None
        whole = " and are no plain text, which alone can be split" if mode == "split" else ""
        parts = ", --overlong split lays plain text out as several" if self.plain else ""
        whats, keeps, flags = [], [], []
        for name, (flag, are) in _ARE.items():
            over: Over = getattr(self, name)
            if over.refused:
                limit = getattr(limits, name)
                whats.append(over.what(limit, are, whole))
                keeps.append(over.keeps(limit, flag))
                flags.append(flag)
        return DataError(
            "; ".join(whats),
            where=", ".join(flags) if mode == "error" else "--overlong split",
            fix=f"{'; '.join(keeps)}; --overlong drop leaves the long ones out, --overlong "
            f"truncate cuts their context from the left{parts}",
        )


def fit(
    examples: Sequence[EncodedExample],
    limits: Limits,
    mode: Overlong,
    lengths: Lengths,
    shorter: Callable[[int], EncodedExample | None],
) -> list[EncodedExample]:
    """Bring examples within limits.

    Args:
        examples: some encoded examples.
        limits: the longest that is allowed.
        mode: ``error`` refuses, ``drop`` leaves overlong examples out, ``truncate`` makes their
            context shorter and drops those whose answer alone is too long, ``split`` lays plain
            text out as several examples and refuses others.
        lengths: counts what becomes of them, and notes those refused.
        shorter: makes the example of an index fit, all of whose answers may stay; None where it
            cannot.

    Returns:
        Those that are left, in order; what was refused is not among them.
    """
    kept: list[EncodedExample] = []
    for index, example in enumerate(examples):
        sizes = limits.sizes(example)
        excess = limits.excess(sizes)
        if mode in ("error", "split"):
            lengths.note(sizes)
        if max(excess) <= 0:
            kept.append(example)
            continue
        lengths.count(excess)
        if mode == "split" and is_plain(example):
            kept += split(example, limits.length)
            lengths.split += 1
        elif mode in ("error", "split"):
            lengths.refuse(example, sizes, excess)
        elif mode == "truncate" and excess.answer <= 0 and (cut := shorter(index)) is not None:
            kept.append(cut)
            lengths.truncated += 1
        else:
            lengths.dropped += 1
    return kept


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
