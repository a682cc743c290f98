"""Which examples make up a step, and which of them are in flight together.

Pure functions of a seed and a step number: a run that resumes at step k sees exactly the
examples that an undisturbed run sees there. Imports no torch and draws from no global RNG.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from anima_core.data.dealing import WINDOW, deal, grain_of

if TYPE_CHECKING:
    from anima_core.config.core import Batching

_FEW = 256  # examples for which a closer packing is looked for


@lru_cache(maxsize=4)
def epoch_order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    """A permutation of ``range(count)``, the same for the same seed and epoch everywhere.

    Args:
        count: examples in the data set.
        seed: the run's seed.
        epoch: 0-based pass over the data; each has an order of its own.
    """
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
    return epoch_order(count, seed, epoch)[start : start + batch_size]


class Batches:
    """The steps of a run: which examples each is made of.

    Args:
        lengths: tokens of each example of the data set.
        batch_size: examples per optimizer step; the last batch of an epoch may be smaller.
        seed: the run's seed.
        batching: ``shuffled`` takes them as the epoch's permutation has them; ``full`` deals those
            of `WINDOW` steps to these steps (see `anima_core.data.dealing`).

    Raises:
        ValueError: there are no examples, or `batch_size` is below 1.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        batching: Batching = "shuffled",
    ) -> None:
        self.lengths = lengths
        self.per_epoch = steps_per_epoch(len(lengths), batch_size)
        self._batch_size = batch_size
        self._seed = seed
        self._grain = 0
        self._full = batching == "full"
        self._dealt: tuple[tuple[int, int], list[tuple[int, ...]]] = ((-1, -1), [])
        if self._full:
            self._grain = grain_of(sum(map(int, lengths)) * batch_size // len(lengths))

    def rows(self, step: int) -> tuple[int, ...]:
        """The examples of one optimizer step, counted from 0 over all epochs: row numbers."""
        count = len(self.lengths)
        epoch, within = divmod(step, self.per_epoch)
        if step < 0 or not self._full or within >= count // self._batch_size:
            return step_rows(count, self._batch_size, self._seed, step)
        window, place = divmod(within, WINDOW)
        if self._dealt[0] != (epoch, window):
            self._dealt = ((epoch, window), self._deal(epoch, window))
        return self._dealt[1][place]

    def _deal(self, epoch: int, window: int) -> list[tuple[int, ...]]:
        """The steps of a window, in an order that the seed decides."""
        size = self._batch_size
        steps = min(WINDOW, len(self.lengths) // size - window * WINDOW)
        start = window * WINDOW * size
        order = epoch_order(len(self.lengths), self._seed, epoch)
        block = order[start : start + steps * size]
        made = deal([int(self.lengths[row]) for row in block], steps, self._grain)
        random.Random(f"{self._seed}/{epoch}/{window}").shuffle(made)  # noqa: S311 - an order
        return [tuple(block[index] for index in step) for step in made]

    def seen(self, steps: int) -> list[int]:
        """Every example that the first `steps` steps look at, in the data set's order."""
        if steps >= self.per_epoch:
            return list(range(len(self.lengths)))
        return sorted({row for step in range(steps) for row in self.rows(step)})


def lengths_of(examples: Any) -> Sequence[int]:
    """Tokens of each example of a data set, without decoding them where it keeps their numbers."""
    columns = getattr(examples, "columns", None)
    if columns is not None:
        tokens: Sequence[int] = columns.tokens
        return tokens
    return [example.tokens for example in examples]


def micro_batches(lengths: Sequence[int], micro_tokens: int) -> list[list[int]]:
    """Pack whole examples into micro-batches of at most `micro_tokens` tokens.

    Best-fit decreasing, which needs at most 11/9 of the fewest possible bins, asymptotically
    (Johnson et al. 1974, "Worst-case performance bounds for simple one-dimensional packing
    algorithms"). Where that is more than the tokens come to, and there are few examples, minimum
    bin slack is tried as well (Gupta and Ho 1999). An example longer than the limit goes alone.
    The longest example's micro-batch comes first, so a run that does not fit fails early.

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
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    bins = _best_fit(lengths, order, micro_tokens)
    if len(lengths) <= _FEW and len(bins) > -(-sum(map(int, lengths)) // micro_tokens):
        closer = _least_slack(lengths, order, micro_tokens)
        bins = closer if len(closer) < len(bins) else bins
    return [sorted(members) for members in bins]


def _best_fit(lengths: Sequence[int], order: Sequence[int], most: int) -> list[list[int]]:
    """Each example, the longest first, into the bin that it fills best, or a new one.

    Bit r of `open_` says whether a bin has room for r tokens left, so that the best one is found
    at once among any number of bins.
    """
    bins: list[list[int]] = []
    of_room: dict[int, list[int]] = defaultdict(list)
    open_ = 0
    for index in order:
        length = int(lengths[index])
        fitting = open_ >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            found = of_room[room].pop()
            if not of_room[room]:
                open_ ^= 1 << room
            bins[found].append(index)
        else:
            room, found = most, len(bins)
            bins.append([index])
        if room >= length:
            of_room[room - length].append(found)
            open_ |= 1 << (room - length)
    return bins


def _least_slack(lengths: Sequence[int], order: Sequence[int], most: int) -> list[list[int]]:
    """Each bin gets the longest example left and, of the others, those that fill it best.

    Bit t of ``sums[j]`` says whether some of the first j others come to t tokens.
    """
    left = list(order)
    bins: list[list[int]] = []
    while left:
        first, *others = left
        mask = (1 << max(most - int(lengths[first]), 0) + 1) - 1
        sums = [1]
        for index in others:
            sums.append((sums[-1] | sums[-1] << int(lengths[index])) & mask)
        wanted = sums[-1].bit_length() - 1
        bins.append([first])
        left = []
        for index, without in zip(reversed(others), reversed(sums[:-1]), strict=True):
            if without >> wanted & 1:
                left.append(index)
            else:
                bins[-1].append(index)
                wanted -= int(lengths[index])
        left.reverse()
    return bins
