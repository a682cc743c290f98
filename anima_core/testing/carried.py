"""Check of what a loss carries from one optimizer step to the next."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from anima_core.loss.collision import call_loss
from anima_core.testing.losses import draw_collision, draw_logps, draw_reference, prepared
from anima_core.training.step import Tally

if TYPE_CHECKING:
    from anima_core.batch import Batch
    from anima_core.contracts import Loss


def check_carried(loss: Loss, batch: Batch, *, seed: int = 0) -> None:
    """A loss's state comes with a way to load it, and changes in `step_done` alone, alike.

    A loss without `step_done` may change its state when it is called.

    Args:
        loss: a loss that may have either.
        batch: examples of the kind that it wants.
        seed: of the random log-probs.

    Raises:
        AssertionError: saying which of these does not hold.
    """
    stateful: Any = loss
    saves, loads = (callable(getattr(loss, n, None)) for n in ("state_dict", "load_state_dict"))
    assert saves == loads, "`state_dict` and `load_state_dict` come together, or not at all"
    if saves:
        copy.deepcopy(stateful).load_state_dict(stateful.state_dict())
    done = getattr(loss, "step_done", None)
    if done is None:
        return
    assert callable(done), f"`step_done` is {done!r}, and cannot be called"
    assert saves, "`step_done` carries something on, and no `state_dict` keeps it for --resume"
    fresh: Any = prepared(loss, batch)
    twin = copy.deepcopy(fresh)
    for step in range(2):
        before = copy.deepcopy(fresh.state_dict())
        metrics = _called(fresh, batch, seed + step)
        assert _same(fresh.state_dict(), before), (
            "a call changed the state, which `step_done` alone may do: micro-batches and other "
            "processes would not agree"
        )
        for each in (fresh, twin):
            returned = each.step_done(dict(metrics))
            assert returned is None, f"`step_done` returned {returned!r}, not None"
        assert _same(fresh.state_dict(), twin.state_dict()), (
            "`step_done` depends on something else than the metrics: another process, which saw "
            "other examples of the step, has another state after it"
        )


def _called(loss: Loss, batch: Batch, seed: int) -> dict[str, tuple[float, float]]:
    """The metrics of a step of one micro-batch, as the core adds them up."""
    logps = draw_logps(loss, batch, seed)
    collision = draw_collision(loss, logps, seed)
    reference = draw_reference(loss, batch, seed)
    tally = Tally()
    tally.add(batch, call_loss(loss, batch, logps.requires_grad_(), reference, collision))
    return tally.sums()


def _same(one: Any, other: Any) -> bool:
    """Whether two trees of tensors, numbers and texts are the same."""
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        both = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
        return both and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
