"""How long a sequence, its prompt and its answer may be, and how long an example's are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from anima_core.batch import EncodedExample


class Sizes(NamedTuple):
    """Tokens of an example.

    Attributes:
        length: its longest sequence.
        prompt: what stands before the last answer; 0 for plain text, which has none.
        answer: the last answer, or the longer one of a pair; 0 for plain text.
    """

    length: int
    prompt: int = 0
    answer: int = 0


@dataclass(frozen=True)
class Limits:
    """The longest that is allowed, in tokens.

    Attributes:
        length: of a sequence; a continuation counts with its parent.
        prompt: of what stands before the last answer, or None.
        answer: of an answer, or None.
    """

    length: int
    prompt: int | None = None
    answer: int | None = None

    def sizes(self, example: EncodedExample) -> Sizes:
        """What there is to be compared with the limits; 0 where there is no limit to it."""
        if (self.prompt is None and self.answer is None) or is_plain(example):
            return Sizes(example.longest)
        prompt, answer = prompt_and_answer(example)
        return Sizes(
            example.longest,
            prompt if self.prompt is not None else 0,
            answer if self.answer is not None else 0,
        )

    def excess(self, sizes: Sizes) -> Sizes:
        """How many tokens each is over its limit; below 0 where there is room left."""
        return Sizes(
            sizes.length - self.length,
            sizes.prompt - (self.prompt or 0),
            sizes.answer - (self.answer or 0),
        )


def side(example: EncodedExample, limit: int, *, alone: bool = False) -> str:
    """Which part of an example with several answers makes it too long: in words, or nothing.

    Args:
        example: a prompt and the answers that continue it; of any other nothing is said.
        limit: tokens of the longest prompt with its answer; or of the longest answer.
        alone: whether answers are limited without their prompt.
    """
    prompt, *answers = example.segments
    if len(answers) < 2:
        return ""
    before = 0 if alone else len(prompt.ids)
    if before >= limit:
        return "the prompt alone"
    over = [a.role for a in answers if before + len(a.ids) > limit]
    if len(over) == len(answers):
        return "each of its answers"
    return " and ".join(f"the {role.name.lower()} answer" for role in over)


def is_plain(example: EncodedExample) -> bool:
    """Whether an example is text that is learnt whole, so that any part of it can be."""
    (first, *others) = example.segments
    return not others and all(first.supervised[1:])


def prompt_and_answer(example: EncodedExample) -> tuple[int, int]:
    """Tokens of an example's prompt, and of its last answer or the longer one of a pair.

    An answer of a completion is a run of targets: of several turns the last that is learnt.
    """
    first, *answers = example.segments
    if answers:
        return len(first.ids), max(len(answer.ids) for answer in answers)
    before = answer = at = 0
    for supervised, run in groupby(first.supervised):
        size = sum(1 for _ in run)
        if supervised:
            before, answer = at, size
        at += size
    return before, answer
