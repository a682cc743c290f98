"""Whether answers are on their side of what they are compared with: good ones above, bad below."""

from __future__ import annotations

import torch

from anima_core import Batch, Role
from anima_dpo.metrics import NOISE, Means, means


def accuracy(batch: Batch, distance: torch.Tensor) -> Means:
    """The share of answers on their side; one that rounding may have put there counts half.

    Args:
        batch: unpaired answers, of each example one.
        distance: by how many nats each is on the other side, ``[E]``; no gradient is kept.
    """
    ones = torch.ones_like(batch.targets, dtype=distance.dtype)
    own = batch.per_example(ones, Role.CHOSEN) + batch.per_example(ones, Role.REJECTED)
    others = batch.per_example(ones, Role.MISMATCHED)
    # The rounding of a sum over tokens, and that of z0, a mean of such sums.
    tie = NOISE * (own.sqrt() + others.sum().sqrt() / (others > 0).sum().clamp_min(1))
    side = distance.detach()
    right = torch.where(side.abs() <= tie, torch.full_like(side, 0.5), (side < 0).to(side.dtype))
    return means({"accuracy": right})
