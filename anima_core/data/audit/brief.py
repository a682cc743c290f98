"""An audit's short form: what the plan says of encoded examples, from their numbers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anima_core.data.quantile import nearest_rank

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anima_core.data.store import Columns


def brief(columns: Columns) -> dict[str, int]:
    """Fields of a `DataSummary`.

    Args:
        columns: what is known of the examples; at least one.

    Returns:
        ``p50``, ``p95``: lengths of sequences, by nearest rank. ``copies``: examples that are
        there already. ``alike``: prompts that have the most frequent answer. ``unended``: examples
        with an answer whose end is not taught.
    """
    ordered = np.sort(columns.longest)
    digests = _words(columns.digest)
    return {
        "p50": nearest_rank(ordered, 50),
        "p95": nearest_rank(ordered, 95),
        "copies": len(digests) - len(np.unique(digests)),
        "alike": _alike(_words(columns.answer), columns.group),
        "unended": int((~columns.ends).sum()),
    }


def _alike(answers: NDArray[np.uint64], groups: NDArray[np.uint64]) -> int:
    """To how many different prompts the answer is given that most have."""
    order = np.lexsort((groups, answers))
    answers, groups = answers[order], groups[order]
    first = np.ones(len(order), bool)
    first[1:] = (answers[1:] != answers[:-1]) | (groups[1:] != groups[:-1])
    return int(np.unique(answers[first], return_counts=True)[1].max())


def _words(hashes: NDArray[Any]) -> NDArray[np.uint64]:
    """The first 8 bytes of each hash of 16."""
    return np.ascontiguousarray(hashes).view(np.uint64)[::2]
