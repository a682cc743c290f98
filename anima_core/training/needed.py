"""What of a micro-batch a second pass must see: what some derivative is sent back to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch

from anima_core.batch import Segment

if TYPE_CHECKING:
    from collections.abc import Callable

    from anima_core.batch import Batch

T = TypeVar("T")

_OF_TOKENS = ("ids", "positions", "role", "supervised")


class Needed(NamedTuple):
    """A part of a batch.

    Attributes:
        batch: the part; None where nothing is needed.
        values: which of the batch's targets are the part's, ``[S]`` bool.
    """

    batch: Batch | None
    values: torch.Tensor


def needed(batch: Batch, slopes: torch.Tensor) -> Needed:
    """A batch without what no derivative by its targets' log-probs goes back to.

    A segment is left out when neither its targets nor those of a segment that continues it have a
    slope: nothing that stays attends to it.

    Args:
        batch: a micro-batch of a first pass.
        slopes: derivatives by the log-probs that it gave, ``[S]``.

    Returns:
        The rest, in order. `Batch.rows` and the weights are those of the examples that stay.
    """
    used = slopes.ne(0)
    wanted = set(batch.segment[batch.supervised][used].unique().tolist())
    keep = [number in wanted for number in range(len(batch.layout))]
    for number, segment in enumerate(batch.layout):
        if segment.parent >= 0 and keep[number]:
            keep[segment.parent] = True
    if all(keep):
        return Needed(batch, torch.ones_like(used))
    stays = torch.tensor(keep, device=batch.ids.device)[batch.segment]
    return Needed(_part(batch, keep, stays) if any(keep) else None, stays[batch.supervised])


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


def looks_at_length(model: torch.nn.Module) -> bool:
    """Whether positions are encoded by the longest sequence of a forward pass, whosever it is.

    Dynamic and longrope RoPE do (``transformers.modeling_rope_utils.dynamic_rope_update``).
    """
    for module in model.modules():
        kinds = getattr(module, "rope_type", ())
        for kind in kinds.values() if isinstance(kinds, dict) else [kinds]:
            if isinstance(kind, str) and ("dynamic" in kind or kind == "longrope"):
                return True
    return False


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
