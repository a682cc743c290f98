"""What a data set of preference pairs holds that its owner would want to know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from anima_core.data.audit.noted import SHOWN
from anima_core.data.audit.repeats import contradictions
from anima_core.data.place import place
from anima_core.runs.plan import PairSummary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anima_core.data.store import Examples


def pair_summary(examples: Examples) -> PairSummary:
    """The figures of pairs that are trained on, from what is known without a look at their tokens.

    Args:
        examples: preference pairs, at least one.
    """
    columns = examples.columns
    chosen, rejected = columns.answers[:, 0], columns.answers[:, 1]
    _, sizes = np.unique(columns.asked, return_counts=True)
    found = contradictions(_keys(columns.pair, columns.answer))
    return PairSummary(
        chosen_tokens=float(chosen.mean()),
        rejected_tokens=float(rejected.mean()),
        longer=int((chosen > rejected).sum()),
        shorter=int((chosen < rejected).sum()),
        prompts=len(sizes),
        shared=int(sizes[sizes > 1].sum()),
        contradicted=found.extra,
        contradictions=tuple(tuple(_places(examples, group)) for group in found.members[:SHOWN]),
    )


def _keys(pair: NDArray[np.uint64], answer: NDArray[np.bytes_]) -> NDArray[np.void]:
    """Pairs as `contradictions` compares them: ``digest`` tells the same pair swapped apart."""
    rows = np.zeros(len(pair), [("pair", "u8"), ("digest", "u8")])
    rows["pair"] = pair
    rows["digest"] = pair ^ np.ascontiguousarray(answer).view(np.uint64)[::2]
    return rows


def _places(examples: Examples, rows: tuple[int, ...]) -> Iterator[str]:
    for row in rows:
        example = examples[row]
        yield place(example.file, example.line)
