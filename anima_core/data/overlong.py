"""What becomes of examples longer than ``--max-length``: refused, dropped or cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anima_core.batch import EncodedExample, TokenSegment
from anima_core.data.place import place
from anima_core.errors import DataError

if TYPE_CHECKING:
    from anima_core.config.core import Overlong

SHOWN = 3
"""How many places an error names."""


@dataclass(frozen=True)
class Fitted:
    """Examples within the limit, and what it took.

    Attributes:
        examples: those that are left, in order.
        overlong: how many were over the limit.
        dropped: how many of those were left out.
        truncated: how many of those were cut.
        split: how many of those were laid out as several.
    """

    examples: list[EncodedExample]
    overlong: int = 0
    dropped: int = 0
    truncated: int = 0
    split: int = 0


def fit(examples: Sequence[EncodedExample], limit: int, mode: Overlong) -> Fitted:
    """Bring examples within a limit.

    Args:
        examples: encoded examples.
        limit: tokens of the longest sequence allowed; a continuation counts with its parent.
        mode: ``error`` refuses, ``drop`` leaves overlong examples out, ``truncate`` cuts their
            context from the left and drops those whose answer alone is too long, ``split`` lays
            plain text out as several examples and refuses others.

    Raises:
        DataError: some are over the limit and `mode` is ``error``, or ``split`` and they are no
            plain text; it says how many, which limits would keep them, and where the first ones
            are.
    """
    over = [example for example in examples if example.longest > limit]
    if not over:
        return Fitted(list(examples))
    whole = [example for example in over if mode == "split" and not is_plain(example)]
    if mode == "error" or whole:
        raise _refusal(examples, whole or over, limit, mode)
    kept: list[EncodedExample] = []
    truncated = 0
    for example in examples:
        if example.longest <= limit:
            kept.append(example)
        elif mode == "split":
            kept += split(example, limit)
        elif mode == "truncate" and (cut := truncate(example, limit)) is not None:
            kept.append(cut)
            truncated += 1
    if mode == "split":
        return Fitted(kept, len(over), split=len(over))
    return Fitted(kept, len(over), len(over) - truncated, truncated)


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
    parts = []
    for start in range(0, len(segment.ids) - 1, limit - 1):
        stop = start + limit
        supervised = (False, *segment.supervised[start + 1 : stop])
        part = replace(segment, ids=segment.ids[start:stop], supervised=supervised)
        parts.append(replace(example, segments=(part,)))
    return parts


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
        rest = segment.supervised[excess + 1 :]
        segments.append(replace(segment, ids=segment.ids[excess:], supervised=(False, *rest)))
    return replace(example, segments=tuple(segments))


def _last_answer(segment: TokenSegment) -> int:
    """Where the last run of supervised tokens begins; 0 where there is none."""
    at = len(segment.ids)
    while at and not segment.supervised[at - 1]:
        at -= 1
    while at and segment.supervised[at - 1]:
        at -= 1
    return at


def _refusal(
    examples: Sequence[EncodedExample], over: Sequence[EncodedExample], limit: int, mode: Overlong
) -> DataError:
    lengths = sorted(example.longest for example in examples)
    longest = max(example.longest for example in over)
    most = lengths[-(-95 * len(lengths) // 100) - 1]
    places = ", ".join(place(e.file, e.line) for e in over[:SHOWN])
    more = f" and {len(over) - SHOWN} more" if len(over) > SHOWN else ""
    keeps = "" if most <= limit or most >= longest else f", --max-length {most} 95% of them"
    whole = " and are no plain text, which alone can be split" if mode == "split" else ""
    parts = ", --overlong split lays plain text out as several" if all(map(is_plain, over)) else ""
    return DataError(
        f"{len(over)} of {len(examples)} examples are longer than {limit} tokens{whole} "
        f"(the longest has {longest}): {places}{more}",
        where="--max-length" if mode == "error" else "--overlong split",
        fix=f"--max-length {longest} keeps all{keeps}; --overlong drop leaves the long ones "
        f"out, --overlong truncate cuts their context from the left{parts}",
    )
