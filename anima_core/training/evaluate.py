"""Evaluation: the loss and its metrics over held-out data, without a gradient.

With several processes each takes every world-th micro-batch, and their sums are added up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from anima_core.data.batching import step_rows, steps_per_epoch
from anima_core.training.ranks import rank_and_world
from anima_core.training.step import Tally, add_denominators, cut, join, join_handed
from anima_core.training.talk import add

if TYPE_CHECKING:
    from anima_core.batch import Batch, EncodedExample
    from anima_core.contracts import Loss, LossOutput
    from anima_core.training.reference import Reference


def evaluate(
    module: Any,
    loss: Loss,
    examples: Sequence[EncodedExample],
    reference: Reference | None,
    *,
    device: str,
    micro_tokens: int,
    batch_size: int,
) -> dict[str, float]:
    """The loss over a whole data set, as training has it, and the loss's metrics.

    A loss of scope ``"example"`` is that of one step of all examples. One of scope ``"step"`` sees
    steps of `batch_size` examples as in training, always the same ones; their totals, denominators
    and metrics are added up.

    Called by every process of a run.

    Returns:
        ``eval_loss`` and each metric under ``eval_…``.
    """
    training = module.training
    module.eval()
    rank, world = rank_and_world()
    tally = Tally()
    below: dict[str, float] = defaultdict(float)
    try:
        with torch.no_grad():
            for rows in _steps(loss, len(examples), batch_size):
                parts = cut(examples, rows, micro_tokens)[rank::world]
                batches = [batch.to(device) for batch in parts]
                for name, value in add_denominators(loss, batches).items():
                    below[name] += value
                for batch, output in _outputs(module, loss, batches, reference):
                    tally.add(batch, output)
    finally:
        module.train(training)
    denominators = add(dict(below))
    tally = tally.over_ranks()
    record = {"eval_loss": tally.loss(denominators)}
    return record | {f"eval_{name}": value for name, value in tally.means(loss).items()}


def _steps(loss: Loss, count: int, batch_size: int) -> Iterator[Sequence[int]]:
    """The examples that the loss is to see together.

    They are dealt as a first epoch's would be under the seed 0, whatever the run's is: data that
    is sorted, by label for one, makes no steps of one kind, and runs compare.
    """
    if loss.scope == "example":
        yield range(count)
        return
    for step in range(steps_per_epoch(count, batch_size)):
        yield step_rows(count, batch_size, 0, step)


def _outputs(
    module: Any, loss: Loss, batches: Sequence[Batch], reference: Reference | None
) -> Iterator[tuple[Batch, LossOutput]]:
    """What the loss makes of the micro-batches of one step, all of them together or each."""
    if loss.scope == "step":
        values, collision = join_handed([module(batch, None, "handed") for batch in batches])
        whole = join(batches)
        rows = reference.of(whole) if reference is not None else None
        yield whole, module.judge(whole, values, rows, collision)
        return
    for batch in batches:
        rows = reference.of(batch) if reference is not None else None
        yield batch, module(batch, rows)
