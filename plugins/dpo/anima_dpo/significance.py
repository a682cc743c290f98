"""Whether numbers that were measured step by step are more than noise. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean

_NORMAL = NormalDist()


def pairs_needed(better: float, level: float, power: float) -> int:
    """How many pairs tell an accuracy from chance.

    With p = `better`, a one-sided test of p against 1/2 at a level of a, and a power of b
    (normal approximation)::

        n = ((z(1 - a) * 1/2 + z(b) * sqrt(p * (1 - p))) / (p - 1/2))^2

    Args:
        better: the accuracy that is to be noticed, above 1/2.
        level: how often chance may pass for more.
        power: how often such an accuracy is to be noticed.
    """
    noise = _NORMAL.inv_cdf(1 - level) / 2
    noise += _NORMAL.inv_cdf(power) * math.sqrt(better * (1 - better))
    return math.ceil((noise / (better - 0.5)) ** 2)


def above_chance(wins: float, pairs: int, level: float) -> bool:
    """Whether so many wins of so many pairs are more than chance gives.

    By a one-sided binomial test (normal approximation with a correction for continuity).

    Args:
        wins: a tie is half of one.
        pairs: at least some dozens.
        level: how often chance may pass for more.
    """
    z = (wins - 0.5 - pairs / 2) / math.sqrt(pairs / 4)
    return 1 - _NORMAL.cdf(z) < level


def surely_above(values: Sequence[float], bound: float, level: float) -> bool:
    """Whether the mean of what was measured lies above a bound, by a one-sided t-test.

    Args:
        values: at least three of them, taken to be independent.
        bound: what the mean is compared with.
        level: how often noise may pass for more.
    """
    mean = fmean(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return mean - bound > _student(level, len(values) - 1) * spread / math.sqrt(len(values))


def surely_below(values: Sequence[float], bound: float, level: float) -> bool:
    """Whether their mean lies below a bound; see `surely_above`."""
    return surely_above([-v for v in values], -bound, level)


def surely_falls(values: Sequence[float], level: float) -> bool:
    """Whether a least-squares line through the values falls, by a one-sided t-test of its slope.

    Args:
        values: at least four of them, in order, taken to be independent about their trend.
        level: how often noise may pass for a fall.
    """
    count = len(values)
    middle, mean = (count - 1) / 2, fmean(values)
    width = count * (count**2 - 1) / 12
    slope = sum((x - middle) * (y - mean) for x, y in enumerate(values)) / width
    left = sum((y - mean - slope * (x - middle)) ** 2 for x, y in enumerate(values))
    error = math.sqrt(left / (count - 2) / width)
    return -slope > _student(level, count - 2) * error


def _student(level: float, freedom: int) -> float:
    """What Student's t exceeds with a probability of `level`.

    The first two terms of its expansion about the normal quantile z (Abramowitz and Stegun 1964,
    26.7.5): ``t = z + (z^3 + z) / (4 f) + (5 z^5 + 16 z^3 + 3 z) / (96 f^2)``.
    """
    z = _NORMAL.inv_cdf(1 - level)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return float(z + (z**3 + z) / (4 * freedom) + second)
