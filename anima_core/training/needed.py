"""What of a micro-batch a second pass must see: what some derivative is sent back to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

import torch

from anima_core.batch import Segment

if TYPE_CHECKING:
    from collections.abc import Callable

    from anima_core.batch import Batch
    from anima_core.contracts import HiddenLoss, Loss

T = TypeVar("T")

_OF_TOKENS = ("ids", "positions", "role", "supervised")


class Needed(NamedTuple):
    """A part of a batch.

    Attributes:
        batch: the part; None where nothing is needed.
        values: which of the values that the loss was called with are the part's, bool.
    """

    batch: Batch | None
    values: torch.Tensor


def needed(loss: Loss, batch: Batch, slopes: torch.Tensor) -> Needed:
    """A batch without what no derivative of a loss goes back to.

    A segment is left out when neither its targets nor those of a segment that continues it have a
    slope: nothing that stays attends to it. A loss that names tokens itself (`TopkLoss`,
    `HiddenLoss`) knows whole examples, and so only those are left out.

    Args:
        loss: the loss.
        batch: a micro-batch of its first pass.
        slopes: derivatives by what that pass gave: ``[S]``, ``[S, K]`` or ``[M, H]``.

    Returns:
        The rest, in order. `Batch.rows` and the weights are those of the examples that stay.
    """
    used = slopes.flatten(1).ne(0).any(dim=1) if slopes.ndim > 1 else slopes.ne(0)
    if loss.needs == "hidden":
        places = cast("HiddenLoss", loss).places(batch)
    else:
        places = batch.supervised.nonzero().flatten()
    unit = batch.segment if loss.needs == "logps" else batch.example
    held = torch.zeros(batch.tokens, dtype=torch.bool, device=batch.ids.device)
    held[places[used]] = True
    wanted = set(unit[held].unique().tolist())
    firsts = [segment.start for segment in batch.layout]
    units = unit[firsts].tolist()
    keep = [of in wanted for of in units]
    for number, segment in enumerate(batch.layout):
        if segment.parent >= 0 and keep[number]:
            keep[segment.parent] = True
    if all(keep):
        return Needed(batch, torch.ones_like(used))
    stays = torch.tensor(keep, device=batch.ids.device)[batch.segment]
    return Needed(_part(batch, keep, stays) if any(keep) else None, stays[places])


def _part(batch: Batch, keep: list[bool], stays: torch.Tensor) -> Batch:
    """The segments of a batch that `keep` says, whose tokens are those that `stays` says."""
    examples, example = batch.example[stays].unique(return_inverse=True)
    targets = stays[batch.supervised]
    new_place = stays.cumsum(0) - 1
    layout: list[Segment] = []
    number: dict[int, int] = {}
    at = 0
    for index, segment in enumerate(batch.layout):
        if keep[index]:
            number[index] = len(layout)
            stop = at + segment.stop - segment.start
            layout.append(Segment(at, stop, number.get(segment.parent, -1)))
            at = stop
    of_tokens = {name: getattr(batch, name)[stays] for name in _OF_TOKENS}
    return replace(
        batch,
        **of_tokens,
        example=example,
        segment=batch.segment[stays].unique(return_inverse=True)[1],
        weights=batch.weights[examples],
        margins=batch.margins[examples],
        target_weights=batch.target_weights[targets],
        sources=new_place[batch.sources[targets]],
        layout=tuple(layout),
        rows=tuple(batch.rows[index] for index in examples.tolist()),
    )


def draws(forward: Callable[[], T]) -> tuple[T, bool]:
    """What a pass gives, and whether it drew from torch's random numbers on its way.

    Where it did (dropout), a pass over a part of the batch would draw others.
    """
    before = _states()
    values = forward()
    after = _states()
    return values, any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def _states() -> list[torch.Tensor]:
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():
        states += torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        states.append(torch.mps.get_rng_state())
    return states
