"""Evaluation: the loss and its metrics over held-out data, without a gradient.

With several processes each takes every world-th micro-batch, and their sums are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from anima_core.training.ranks import rank_and_world
from anima_core.training.step import Tally, add_denominators, cut, join
from anima_core.training.talk import add

if TYPE_CHECKING:
    from anima_core.batch import EncodedExample
    from anima_core.contracts import Loss
    from anima_core.training.reference import Reference


def evaluate(
    module: Any,
    loss: Loss,
    examples: Sequence[EncodedExample],
    reference: Reference | None,
    *,
    device: str,
    micro_tokens: int,
) -> dict[str, float]:
    """The loss over a whole data set, as one step would have it, and the loss's metrics.

    Called by every process of a run.

    Returns:
        ``eval_loss`` and each metric under ``eval_…``.
    """
    training = module.training
    module.eval()
    rank, world = rank_and_world()
    parts = cut(examples, range(len(examples)), micro_tokens)[rank::world]
    batches = [batch.to(device) for batch in parts]
    denominators = add(add_denominators(loss, batches))
    tally = Tally()
    try:
        with torch.no_grad():
            if loss.scope == "step":
                logps = torch.cat([module(batch, None, "logps") for batch in batches])
                whole = join(batches)
                rows = reference.of(whole) if reference is not None else None
                tally.add(whole, module.judge(whole, logps, rows))
            else:
                for batch in batches:
                    rows = reference.of(batch) if reference is not None else None
                    tally.add(batch, module(batch, rows))
    finally:
        module.train(training)
    tally = tally.over_ranks()
    record = {"eval_loss": tally.loss(denominators)}
    return record | {f"eval_{name}": value for name, value in tally.means().items()}
