"""How full micro-batches would be, and what padding would have cost in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anima_core.data.batching import Batches, micro_batches

if TYPE_CHECKING:
    from anima_core.config.core import Batching
    from anima_core.data.audit.rows import Rows

MOST_STEPS = 500
"""Optimizer steps that are looked at, spread evenly over a pass; a sample where it has more."""


@dataclass(frozen=True)
class Packing:
    """Optimizer steps of a pass over the data.

    Attributes:
        steps: optimizer steps in a pass.
        looked_at: how many of those the figures are of.
        micro_batches: micro-batches a step, on average.
        filled: share of the room in micro-batches that holds tokens.
        padding: how many tokens padding to the longest sequence of each step would compute, for
            each one that is computed here (a pair's prompt stands in both of its sequences).
    """

    steps: int
    looked_at: int
    micro_batches: float
    filled: float
    padding: float


def packing_of(
    rows: Rows, batch_size: int, micro_tokens: int, seed: int, batching: Batching = "shuffled"
) -> Packing:
    """Lay the data out as a run would.

    Args:
        rows: the examples that are trained on, at least one.
        batch_size: examples per optimizer step.
        micro_tokens: tokens in flight at once; a longer example goes alone, in as much room.
        seed: decides the order.
        batching: how examples are put together.
    """
    tokens, longest = rows["tokens"], rows["longest"]
    sequences = rows["sequences"]
    order = Batches(tokens.tolist(), batch_size, seed, batching)
    steps = order.per_epoch
    looked_at = sorted(set(np.linspace(0, steps - 1, min(steps, MOST_STEPS)).astype(int).tolist()))
    batches = used = room = padded = 0
    for step in looked_at:
        own = list(order.rows(step))
        lengths = tokens[own].tolist()
        groups = micro_batches(lengths, micro_tokens)
        sizes = [sum(lengths[i] for i in group) for group in groups]
        batches += len(groups)
        used += sum(sizes)
        room += sum(max(size, micro_tokens) for size in sizes)
        padded += int(longest[own].max()) * int(sequences[own].sum())
    return Packing(steps, len(looked_at), batches / len(looked_at), used / room, padded / used)
