"""Steps whose tokens fill micro-batches, dealt from a stretch of an epoch's permutation.

A step of T tokens takes ``ceil(T / micro_tokens)`` micro-batches at best, and steps of random
totals leave half a micro-batch empty each, on average. The totals here are just below multiples of
a power of two, the *grain*: every ``--micro-tokens`` that is a power of two up to it is then
filled, and yet which examples make up a step does not hang on ``--micro-tokens``.

    examples of a window, shuffled                       64 x --batch-size of them
    -> those of the steps of (k+1) grains, those of k    as random as their sums allow
    -> steps: the longest first, to the step that has the fewest tokens
"""

from __future__ import annotations

from collections.abc import Sequence

WINDOW = 64
"""Steps that are dealt together: enough for totals to come out, few beside an epoch."""

_SMALLEST_GRAIN = 64
_TILTS = 1024  # how finely the odds of long examples are set


def grain_of(tokens: int) -> int:
    """The largest power of two that is at most `tokens`, a step's mean; 0 for none."""
    return 1 << (tokens.bit_length() - 1) if tokens > 0 else 0


def deal(lengths: Sequence[int], steps: int, grain: int) -> list[list[int]]:
    """Part the examples of a window into steps of as many examples each.

    Args:
        lengths: tokens of each example, in an order that is random; `steps` divides their number.
        steps: how many steps to make.
        grain: tokens whose multiples the steps' totals should come just below. It is halved until
            the lengths allow that; where none does, all steps get about as many tokens.

    Returns:
        For each step the indices into `lengths` of its examples, ascending; every index once.
    """
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    while grain >= _SMALLEST_GRAIN:
        parts = _parts(lengths, by_length, steps, grain)
        if parts is not None:
            return [step for indices, n in parts for step in _even(lengths, indices, n)]
        grain //= 2
    return _even(lengths, range(len(lengths)), steps)


def _parts(
    lengths: Sequence[int], by_length: Sequence[int], steps: int, grain: int
) -> list[tuple[list[int], int]] | None:
    """The examples of the larger and of the smaller steps, with the number of each.

    None where the lengths do not allow it.
    """
    total, size = sum(lengths), len(lengths) // steps
    full = grain - grain // 64  # room for what does not come out even
    k = total // (steps * full)
    larger = -(-(total - steps * k * full) // full)
    everything = list(range(len(lengths)))
    if larger in (0, steps):
        return [(everything, steps)]
    # The smaller steps hold k grains at most, so the larger ones take at least this:
    least = total - (steps - larger) * k * full
    rank = [0] * len(lengths)
    for place, index in enumerate(by_length):
        rank[index] = place

    def taken(tilt: int) -> list[int]:
        """So many examples: at tilt 0 by their random order, at the last the longest."""
        score = [index * (_TILTS - tilt) + rank[index] * tilt for index in everything]
        return sorted(everything, key=score.__getitem__)[-larger * size :]

    def enough(tilt: int) -> bool:
        return sum(map(lengths.__getitem__, taken(tilt))) >= least

    if k == 0 or not enough(_TILTS):
        return None
    low, high = 0, _TILTS
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    chosen = taken(low)
    others = set(everything).difference(chosen)
    return [(chosen, larger), (sorted(others), steps - larger)]


def _even(lengths: Sequence[int], indices: Sequence[int], steps: int) -> list[list[int]]:
    """Steps of as many examples and about as many tokens each.

    The next longest examples, one for each step, go to the steps in the order of what they lack
    (Graham 1969, "Bounds on multiprocessing timing anomalies", with equal numbers).
    """
    ordered = sorted(indices, key=lambda index: (-lengths[index], index))
    made: list[list[int]] = [[] for _ in range(steps)]
    sums = [0] * steps
    for start in range(0, len(ordered), steps):
        emptiest = sorted(range(steps), key=sums.__getitem__)
        for index, step in zip(ordered[start : start + steps], emptiest, strict=True):
            made[step].append(index)
            sums[step] += lengths[index]
    return [sorted(step) for step in made]


def share(lengths: Sequence[int], rank: int, world: int) -> list[int]:
    """Which of a step's examples one of several processes takes, by about as many tokens each.

    The longest first, each to the process with the fewest tokens so far. Every process gets an
    example when there are enough.

    Args:
        lengths: tokens of each of the step's examples.
        rank, world: this process, and the number of them.

    Returns:
        Indices into `lengths`, ascending.
    """
    if world == 1:
        return list(range(len(lengths)))
    loads = [(0, other) for other in range(world)]
    mine = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        tokens, least = min(loads)
        loads[least] = (tokens + lengths[index], least)
        if least == rank:
            mine.append(index)
    return sorted(mine)
