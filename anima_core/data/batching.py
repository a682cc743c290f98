"""Which examples make up a step, and which of them are in flight together.

Pure functions of a seed and a step number: a run that resumes at step k sees exactly the
examples that an undisturbed run sees there. Imports no torch and draws from no global RNG.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """A permutation of ``range(count)``, the same for the same seed and epoch everywhere.

    Args:
        count: examples in the data set.
        seed: the run's seed.
        epoch: 0-based pass over the data; each has an order of its own.
    """
    return list(_epoch_order(count, seed, epoch))


@lru_cache(maxsize=4)
def _epoch_order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    order = list(range(count))
    # A string is seeded through SHA-512, so (1, 12) and (11, 2) do not meet.
    random.Random(f"{seed}/{epoch}").shuffle(order)  # noqa: S311 - an order, not a secret
    return tuple(order)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Optimizer steps in one pass over `count` examples; the last may be a smaller one.

    Raises:
        ValueError: either number is below 1.
    """
    if count < 1 or batch_size < 1:
        raise ValueError(
            f"want at least one example and a batch size of 1, not {count=}, {batch_size=}"
        )
    return -(-count // batch_size)


def step_rows(count: int, batch_size: int, seed: int, step: int) -> tuple[int, ...]:
    """The examples of one optimizer step.

    Args:
        count: examples in the data set.
        batch_size: examples per optimizer step; the last batch of an epoch may be smaller.
        seed: the run's seed.
        step: 0-based optimizer step, counted over all epochs.

    Returns:
        Row numbers in the data set, each example once an epoch.

    Raises:
        ValueError: there are no examples, or `step` is negative.
    """
    if step < 0:
        raise ValueError(f"steps count from 0, not {step}")
    epoch, within = divmod(step, steps_per_epoch(count, batch_size))
    start = within * batch_size
    return _epoch_order(count, seed, epoch)[start : start + batch_size]


def micro_batches(lengths: Sequence[int], micro_tokens: int) -> list[list[int]]:
    """Pack whole examples into micro-batches of at most `micro_tokens` tokens.

    First-fit decreasing, which needs at most 11/9 of the fewest possible bins plus 6/9
    (Dósa 2007, "The tight bound of first fit decreasing"). An example longer than the limit
    goes alone. The fullest memory use comes first, so a run that does not fit fails early.

    Args:
        lengths: tokens of each example.
        micro_tokens: tokens in flight at once.

    Returns:
        Lists of indices into `lengths`, ascending within a list; every index once.

    Raises:
        ValueError: `micro_tokens` is below 1.
    """
    if micro_tokens < 1:
        raise ValueError(f"micro_tokens must be at least 1, not {micro_tokens}")
    bins: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        fit = next((b for b, free in enumerate(room) if length <= free), None)
        if fit is None:
            bins.append([index])
            room.append(micro_tokens - length)
        else:
            bins[fit].append(index)
            room[fit] -= length
    return [sorted(members) for members in bins]


def rows_seen(count: int, batch_size: int, seed: int, steps: int) -> list[int]:
    """Every example that the first `steps` optimizer steps look at, in the data set's order."""
    if steps >= steps_per_epoch(count, batch_size):
        return list(range(count))
    return sorted({row for s in range(steps) for row in step_rows(count, batch_size, seed, s)})
