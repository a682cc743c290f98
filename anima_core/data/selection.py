"""Which examples are trained on, and which are held out to evaluate on."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence

from anima_core.batch import EncodedExample
from anima_core.data.formats import Example
from anima_core.errors import DataError


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


def drawn(examples: Sequence[EncodedExample], most: int | None, seed: int) -> list[EncodedExample]:
    """At most so many examples, drawn by the seed alone and left in order."""
    if most is None or len(examples) <= most:
        return list(examples)
    # A string is seeded through SHA-512, so it is the same draw on every machine.
    draw = random.Random(f"{seed}/max-examples")  # noqa: S311 - a choice, not a secret
    return [examples[row] for row in sorted(draw.sample(range(len(examples)), most))]


def hold_out(
    examples: Sequence[EncodedExample], fraction: float, seed: int
) -> tuple[list[EncodedExample], list[EncodedExample]]:
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
    sizes = Counter(example.group for example in examples)
    if len(sizes) < 2:
        raise DataError(
            f"the {len(examples)} examples have one prompt, so none can be held out of them",
            where="--eval-fraction",
            fix="give data to evaluate on: --eval-data",
        )
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest())
    wanted = round(fraction * len(examples))
    held: set[int] = set()
    count = 0
    for group in order:
        if count + sizes[group] <= wanted and len(held) < len(sizes) - 1:
            held.add(group)
            count += sizes[group]
    if not held:
        held.add(min(order, key=lambda group: sizes[group]))
    train = [example for example in examples if example.group not in held]
    return train, [example for example in examples if example.group in held]
