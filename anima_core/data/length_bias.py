"""Whether pairs of preferences differ mostly in length."""

from __future__ import annotations

import math

SHARE = 2 / 3
"""Share of the pairs of unequal length from which on one side is told of."""

DEVIATIONS = 3.29
"""And by so many standard deviations it is more than half: chance does that once in 1,000."""


def preferred_length(longer: int, shorter: int) -> str:
    """Which answers are the better ones so often that a model may learn the length alone.

    Args:
        longer, shorter: in how many pairs the better answer is the longer, or the shorter one.

    Returns:
        ``longer`` or ``shorter``, where that is so in two pairs of three and more often than
        chance would have it; else nothing.
    """
    unequal = longer + shorter
    for count, word in ((longer, "longer"), (shorter, "shorter")):
        beyond = count - unequal / 2
        if count >= SHARE * unequal and beyond > DEVIATIONS * math.sqrt(unequal) / 2:
            return word
    return ""
