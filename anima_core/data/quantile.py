"""Percentiles as they are told: a length that some example has, never one between two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def nearest_rank(ordered: Sequence[int] | NDArray[Any], percent: int) -> int:
    """The smallest value that so many percent are at most as large as.

    Args:
        ordered: values, ascending; at least one.
        percent: 1 to 100.
    """
    return int(ordered[-(-percent * len(ordered) // 100) - 1])
