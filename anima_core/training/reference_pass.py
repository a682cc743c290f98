"""A pass without a gradient: how many tokens are in flight, and what is done when they do not fit.

It needs far less memory than a training step, which keeps the activations of every layer for the
backward pass, and so it takes larger micro-batches in the same memory.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from anima_core.data.batching import lengths_of, micro_batches
from anima_core.data.collate import collate

if TYPE_CHECKING:
    from anima_core.batch import Batch, EncodedExample
    from anima_core.context import RunContext
    from anima_core.contracts import MemoryShape
    from anima_core.registry.selection import Selection
    from anima_core.runs.reporter import Reporter

FACTORS = (16, 8, 4, 2)
"""How many times the tokens of a training step's micro-batch are tried, the most first."""

MOST = {"cuda": 16_384, "cpu": 512}
"""Tokens past which a larger micro-batch gains no speed, in round numbers. On a CPU, SmolLM2 took
as many a second 512 at a time as 2,048 or 4,096, in float32 and in 4 bits."""

MOST_ELSEWHERE = 4_096


def tokens_in_flight(
    run: RunContext, selection: Selection, other: RunContext | None = None, held: int = 0
) -> int:
    """Tokens of the pass's micro-batches, so many that it needs no more memory than training does.

    They are the most whose pass needs no more than a training step of the run, by the plan's
    estimate: the peak of a run is that of its training, reference or no reference. They are the
    same wherever the same run is started.

    Args:
        run: the run.
        selection: its strategies.
        other: the model that the pass is of, where it is another one; its log-probs come from
            `FrozenModel`, which bounds the logits by itself.
        held: bytes of that model's weights.

    Returns:
        Tokens: the run's ``micro_tokens``, or some times as many.
    """
    from anima_core.runs.memory import activation_bytes, memory_shape

    shape = memory_shape(run)
    micro_tokens = run.config.micro_tokens
    room = activation_bytes(run, shape) + _strategies_bytes(run, selection, shape)
    passing = shape if other is None else memory_shape(other)
    most = MOST.get(run.device.split(":")[0], MOST_ELSEWHERE)
    for factor in FACTORS:
        tokens = micro_tokens * factor
        if tokens > most:
            continue
        larger = replace(shape, micro_tokens=tokens)
        kept = held if other is not None else _strategies_bytes(run, selection, larger)
        if forward_bytes(run, replace(passing, micro_tokens=tokens)) + kept <= room:
            return tokens
    return micro_tokens


def tokens_of_held_out(run: RunContext, tokens: int) -> int:
    """The same for held-out data.

    In 16 bits they are the run's own, as evaluation cuts it: then the model says of it before the
    first step what its reference says. That holds of losses that see an example at a time;
    where a loss sees a whole step, evaluation cuts each step by itself, the pass all examples at
    once, and rounding makes the two differ.

    Args:
        run: the run.
        tokens: those of the data that is trained on.
    """
    return tokens if any_cut(run) else run.config.micro_tokens


def any_cut(run: RunContext) -> bool:
    """Whether log-probs are the same, but for float32's rounding, however micro-batches are cut."""
    return run.dtype == "float32"


def _strategies_bytes(run: RunContext, selection: Selection, shape: MemoryShape) -> int:
    """All that strategies count; what does not depend on the tokens is the same in any case."""
    config = run.config.model_copy(update={"micro_tokens": shape.micro_tokens})
    parts = selection.call_stack("estimate_memory", run=replace(run, config=config), shape=shape)
    return sum(sum(part.values()) for _, part in parts)


def forward_bytes(run: RunContext, shape: MemoryShape) -> int:
    """One block's activations and the input of the next: nothing else outlives a layer."""
    item = 4 if run.dtype == "float32" else 2
    return shape.micro_tokens * (13 * shape.hidden + 5 * shape.intermediate) * item


class Forward:
    """Log-probs of some examples, in smaller pieces once they do not fit into a device's memory.

    Args:
        examples: the data set.
        logps_of: log-probs of a batch's targets, ``[S]``.
        device: where batches go.
        tokens: tokens in flight at once, to begin with.
        reporter: hears when there are fewer.
    """

    def __init__(
        self,
        examples: Sequence[EncodedExample],
        logps_of: Callable[[Batch], torch.Tensor],
        device: str,
        tokens: int,
        reporter: Reporter,
    ) -> None:
        self.tokens = tokens
        self._examples = examples
        self._lengths = lengths_of(examples)
        self._logps_of = logps_of
        self._device = device
        self._reporter = reporter

    def __call__(self, rows: Sequence[int]) -> dict[int, torch.Tensor]:
        """By row, ``[its targets]`` float32 on the CPU.

        Raises:
            torch.OutOfMemoryError: a single example does not fit.
        """
        cut = micro_batches([int(self._lengths[row]) for row in rows], self.tokens)
        found: dict[int, torch.Tensor] = {}
        for piece in cut:
            found |= self._piece([rows[i] for i in piece])
        return found

    def _piece(self, rows: Sequence[int]) -> dict[int, torch.Tensor]:
        try:
            with torch.no_grad():
                return self._at_once(rows)
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise
        # Out of the handler: the error holds on to the tensors of its frames.
        free_memory(self._device)
        self.tokens = sum(int(self._lengths[row]) for row in rows) // 2
        told = f"the device's memory is full: at most {self.tokens} tokens at once from now on"
        self._reporter.note(f"reference log-probs: {told}")
        return self(rows)

    def _at_once(self, rows: Sequence[int]) -> dict[int, torch.Tensor]:
        batch = collate(self._examples, rows).to(self._device)
        values = self._logps_of(batch).float().cpu()
        sizes = [self._examples[row].supervised for row in rows]
        return dict(zip(rows, values.split(sizes), strict=True))


def free_memory(device: str) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
