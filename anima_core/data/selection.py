"""Which examples are trained on, and which are held out to evaluate on."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import numpy as np

from anima_core.data.formats import Example
from anima_core.data.mixture import Mixed, Mixture, mixed
from anima_core.data.store import Examples
from anima_core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def group_of(example: Example) -> int:
    """A number that examples which ask the same share: of the user's first words, or the text.

    White space and case make no difference, and neither do the system's words.
    """
    asked: list[str] = [example.text]
    for message in example.messages:
        if message["role"] == "assistant":
            break
        if message["role"] == "user":
            asked.append(message["content"])
    words = " ".join(" ".join(asked).split()).casefold()
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big")


def drawn(examples: Examples, most: int | None, seed: int) -> Examples:
    """At most so many examples, drawn by the seed alone and left in order."""
    if most is None or len(examples) <= most:
        return examples
    # A string is seeded through SHA-512, so it is the same draw on every machine.
    draw = random.Random(f"{seed}/max-examples")  # noqa: S311 - a choice, not a secret
    return examples.select(sorted(draw.sample(range(len(examples)), most)))


def drawn_mixture(
    examples: Examples, mixture: Mixture, most: int | None, seed: int
) -> tuple[Examples, Mixed]:
    """The examples of a mixture, in the order of the data set, and what was taken of which source.

    Raises:
        DataError: not one example can be had at these shares.
    """
    rows, found = mixture_rows(examples.columns.source, mixture, most, seed)
    if not any(found.rows):
        empty = ", ".join(mixture.names[index] for index in found.limiting)
        raise DataError(
            f"no mixture can be made: too few examples are left of {empty}",
            where="--mix",
            fix="Leave the source out, give it a smaller share, or look at what left its "
            "examples out.",
        )
    return examples.select(rows), found


def mixture_rows(
    source: NDArray[np.int32], mixture: Mixture, most: int | None, seed: int
) -> tuple[NDArray[np.int64], Mixed]:
    """Which rows a mixture takes.

    Args:
        source: of each row, which of the sources it came from.
        mixture: the shares.
        most: rows at most; as many as the shares allow when None.
        seed: decides which.

    Returns:
        Row numbers, source by source, and what was taken of which.
    """
    numbers = range(len(mixture.pools))
    counts = np.bincount(source, minlength=len(numbers)).tolist()
    found = mixed(counts, mixture, most, seed)
    of_source = (np.flatnonzero(source == number) for number in numbers)
    pairs = zip(of_source, found.rows, strict=True)
    return np.concatenate([every[np.asarray(own, np.int64)] for every, own in pairs]), found


def hold_out(examples: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """Part examples into those to train on and those to evaluate on.

    Examples that ask the same stay together, so that no prompt of the evaluation was trained on.

    Args:
        examples: all of them.
        fraction: how much of them to hold out; as near to it as whole groups come from below,
            and at least one group.
        seed: decides which; the order of the examples does not.

    Returns:
        The examples to train on and those held out, both in order.

    Raises:
        DataError: all of them ask the same, so that they cannot be parted.
    """
    groups, sizes = np.unique(examples.columns.group, return_counts=True)
    if len(groups) < 2:
        raise DataError(
            f"the {len(examples)} examples have one prompt, so none can be held out of them",
            where="--eval-fraction",
            fix="give data to evaluate on: --eval-data",
        )
    keys = [hashlib.sha256(f"{seed}/{group}".encode()).digest() for group in groups.tolist()]
    order = sorted(range(len(groups)), key=lambda index: keys[index])
    wanted = round(fraction * len(examples))
    held: list[int] = []
    count = 0
    for index in order:
        if count + sizes[index] <= wanted and len(held) < len(groups) - 1:
            held.append(index)
            count += int(sizes[index])
    if not held:
        held.append(min(order, key=lambda index: sizes[index]))
    is_held = np.isin(examples.columns.group, groups[held])
    return examples.select(np.flatnonzero(~is_held)), examples.select(np.flatnonzero(is_held))
