"""How long sequences are: percentiles, and a histogram whose bars end at round numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anima_core.data.quantile import nearest_rank

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.integer[Any]]

MOST_BARS = 10
_WIDE = 12
"""From this ratio of longest to shortest on, each bar spans twice the lengths of the one before."""

_STEPS = (1, 2, 5)


@dataclass(frozen=True)
class Bar:
    """Part of a histogram.

    Attributes:
        first, last: the shortest and the longest length that it counts, in tokens.
        count: how many examples.
    """

    first: int
    last: int
    count: int


@dataclass(frozen=True)
class Lengths:
    """A distribution of lengths, in tokens.

    Attributes:
        count: how many lengths there are.
        shortest, mean, longest: of all of them.
        p50, p90, p95, p99: so many percent are at most as long (nearest rank).
        bars: the histogram.
    """

    count: int
    shortest: int
    mean: float
    longest: int
    p50: int
    p90: int
    p95: int
    p99: int
    bars: tuple[Bar, ...]


def lengths_of(values: Integers) -> Lengths:
    """Describe lengths.

    Args:
        values: ``[E]`` integers, at least one.
    """
    ordered = np.sort(values)

    return Lengths(
        count=len(ordered),
        shortest=int(ordered[0]),
        mean=float(ordered.mean()),
        longest=int(ordered[-1]),
        p50=nearest_rank(ordered, 50),
        p90=nearest_rank(ordered, 90),
        p95=nearest_rank(ordered, 95),
        p99=nearest_rank(ordered, 99),
        bars=histogram(ordered),
    )


def histogram(ordered: Integers) -> tuple[Bar, ...]:
    """At most `MOST_BARS` bars over sorted lengths, from the shortest to the longest.

    Bars of one width where that is readable; else each ends at a power of two, and the shortest
    lengths share a bar.
    """
    low, high = int(ordered[0]), int(ordered[-1])
    if high >= _WIDE * max(low, 1):
        last = math.ceil(math.log2(high + 1))
        first = max(last - MOST_BARS, int(math.log2(max(low, 1))))
        edges = [min(2**first, low), *(2**p for p in range(first + 1, last + 1))]
    else:
        width = _width(low, high)
        begin = low // width * width
        edges = list(range(begin, high + width + 1, width))
        edges = edges[: next(i for i, edge in enumerate(edges) if edge > high) + 1]
    at = np.searchsorted(ordered, edges)
    counts = np.diff(at)
    bounds = zip(edges, edges[1:], counts, strict=False)
    return tuple(Bar(first, after - 1, int(count)) for first, after, count in bounds)


def _width(low: int, high: int) -> int:
    """The smallest round width at which the bars are few enough."""
    scale = 1
    while True:
        for step in _STEPS:
            width = step * scale
            if high // width - low // width + 1 <= MOST_BARS:
                return width
        scale *= 10
