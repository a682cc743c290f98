"""One optimizer step: micro-batches in, summed gradients out.

The batch of the mathematics is not the batch of the memory: each total is divided by its
denominator over the whole step, across micro-batches and ranks, so the cut changes nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from anima_core.contracts import LossOutput
from anima_core.data.batching import lengths_of, micro_batches
from anima_core.data.collate import collate
from anima_core.errors import SetupError
from anima_core.training.needed import draws, looks_at_length, needed
from anima_core.training.seeding import seed_step
from anima_core.training.talk import add

if TYPE_CHECKING:
    from anima_core.batch import Batch, EncodedExample
    from anima_core.contracts import Loss
    from anima_core.training.module import Handed
    from anima_core.training.reference import Reference


@dataclass
class Tally:
    """Totals and metrics of a step or an evaluation, added up over micro-batches."""

    totals: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    metrics: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))
    tokens: int = 0

    def add(self, batch: Batch, output: LossOutput) -> None:
        """Add one micro-batch."""
        self.tokens += batch.tokens
        for name, total in output.totals.items():
            self.totals[name] += float(total.detach())
        for name, (value, count) in output.metrics.items():
            self.metrics[name][0] += float(value)
            self.metrics[name][1] += float(count)

    def over_ranks(self) -> Tally:
        """The sum of every process's tally; called by all of them."""
        sums = add(
            {
                "tokens": self.tokens,
                **{f"total.{name}": value for name, value in self.totals.items()},
                **{f"sum.{name}": value for name, (value, _) in self.metrics.items()},
                **{f"count.{name}": count for name, (_, count) in self.metrics.items()},
            }
        )
        whole = Tally(tokens=int(sums.pop("tokens")))
        for key, value in sums.items():
            kind, name = key.split(".", maxsplit=1)
            if kind == "total":
                whole.totals[name] = value
            else:
                whole.metrics[name][kind == "count"] = value
        return whole

    def loss(self, denominators: Mapping[str, float]) -> float:
        """The sum of total / denominator."""
        return sum(total / divisor(denominators, name) for name, total in self.totals.items())

    def sums(self) -> dict[str, tuple[float, float]]:
        """Each metric's (sum, count)."""
        return {name: (s, n) for name, (s, n) in self.metrics.items()}

    def means(self, loss: Loss | None = None) -> dict[str, float]:
        """Each metric's sum / count, and the ``differences`` of such means that the loss declares.

        What counted nothing is left out.
        """
        means = {name: s / n for name, (s, n) in self.metrics.items() if n}
        wanted: Mapping[str, tuple[str, str]] = getattr(loss, "differences", {})
        return {
            name: means[one] - means[other]
            for name, (one, other) in wanted.items()
            if one in means and other in means
        } | means


def cut(examples: Sequence[EncodedExample], rows: Sequence[int], micro_tokens: int) -> list[Batch]:
    """Micro-batches of the given rows within `micro_tokens`."""
    lengths = lengths_of(examples)
    parts = micro_batches([int(lengths[row]) for row in rows], micro_tokens)
    return [collate(examples, [rows[i] for i in part]) for part in parts]


def add_denominators(loss: Loss, batches: Sequence[Batch]) -> dict[str, float]:
    """The loss's denominators over several micro-batches."""
    sums: dict[str, float] = defaultdict(float)
    for batch in batches:
        for name, value in loss.denominators(batch).items():
            sums[name] += value
    return dict(sums)


def divisor(denominators: Mapping[str, float], name: str) -> float:
    """What a total is divided by.

    Raises:
        SetupError: it is no positive number, though the loss has such a total.
    """
    value = denominators[name]
    if not 0 < value < math.inf:
        raise SetupError(
            f"the loss has a total `{name}`, whose denominator over the whole step is {value:g}",
            where="training",
            fix="Raise --batch-size, or look at the weights of the data's examples.",
        )
    return value


class StepRunner:
    """Runs the micro-batches of a step forward and backward.

    Args:
        module: what Accelerate wrapped.
        loss: the loss.
        accelerator: Accelerate.
        seed, rank, world: for the randomness and the mean over ranks.
    """

    def __init__(
        self, module: Any, loss: Loss, accelerator: Any, seed: int, rank: int, world: int
    ) -> None:
        self._module = module
        self._loss = loss
        self._accelerator = accelerator
        self._seed = seed
        self._rank = rank
        self._world = world
        self._by_length = loss.scope == "step" and looks_at_length(module)

    def backward(
        self,
        step: int,
        batches: Sequence[Batch],
        denominators: Mapping[str, float],
        reference: Reference | None,
    ) -> Tally:
        """Add the gradient of the step's loss to the parameters.

        Args:
            step: the step's number; with the micro-batch's it seeds dropout.
            batches: this rank's micro-batches.
            denominators: over the whole step and all ranks.
            reference: reference log-probs, or None.
        """
        if self._loss.scope == "step":
            return self._backward_whole(step, batches, denominators, reference)
        tally = Tally()
        for index, batch in enumerate(batches):
            last = index == len(batches) - 1
            with self._quiet_until(last):
                output = self._forward(step, index, batch, reference)
                self._accelerator.backward(self._mean(output, denominators))
            tally.add(batch, output)
        return tally

    def take_part(self, step: int, batch: Batch, reference: Reference | None) -> Tally:
        """Take part in a step's exchange of gradients without an example of one's own.

        Args:
            step: the step's number.
            batch: an example of another rank, for a gradient of zeros.
            reference: reference log-probs, or None.

        Returns:
            A tally of nothing.
        """
        output = self._forward(step, 0, batch, reference)
        self._accelerator.backward(torch.stack(list(output.totals.values())).sum() * 0.0)
        return Tally()

    def _quiet_until(self, last: bool) -> Any:
        """No gradient exchange between ranks before the last micro-batch."""
        return nullcontext() if last else self._accelerator.no_sync(self._module)

    def _mean(self, output: LossOutput, denominators: Mapping[str, float]) -> torch.Tensor:
        """The micro-batch's share of the step's loss; DDP averages over ranks, so times them."""
        parts = [total / divisor(denominators, name) for name, total in output.totals.items()]
        return torch.stack(parts).sum() * self._world

    def _seeded(self, step: int, index: int) -> None:
        seed_step(self._seed, step * 1_000_003 + index, self._rank)

    def _forward(
        self, step: int, index: int, batch: Batch, reference: Reference | None
    ) -> LossOutput:
        self._seeded(step, index)
        rows = reference.of(batch) if reference is not None else None
        output: LossOutput = self._module(batch, rows)
        return output

    def _head_parameters(self) -> list[torch.nn.Parameter]:
        head: torch.nn.Module | None = getattr(self._module, "head", None)
        return list(head.parameters()) if head is not None else []

    def _backward_whole(
        self,
        step: int,
        batches: Sequence[Batch],
        denominators: Mapping[str, float],
        reference: Reference | None,
    ) -> Tally:
        """A loss over the whole step: its derivative by every log-prob drives a second pass.

        With l = f(p_1 … p_S, w), each p_i a number or several (K log-probs, a hidden state), w
        the parameters of the loss's own head, and p = p(θ), dl/dθ = Σ (dl/dp_i) (dp_i/dθ). The
        first pass gives every p without a gradient, f is differentiated by p and w alone, and
        the second pass, under the same seeds, sends the derivatives by p back, a micro-batch at
        a time. Those by w go along with the last one. What has no derivative takes no part in
        the second pass (see `needed`), unless dropout would fall otherwise without it.
        """
        parts: list[Handed] = []
        drawn = []
        with torch.no_grad():
            for index, batch in enumerate(batches):
                self._seeded(step, index)
                given, drew = draws(partial(self._module, batch, None, "handed"))
                parts.append(given)
                drawn.append(drew)
        values, collision = join_handed(parts)
        values.requires_grad_()
        whole = join(batches)
        rows = reference.of(whole) if reference is not None else None
        output = self._module.judge(whole, values, rows, collision)
        head = [p for p in self._head_parameters() if p.requires_grad]
        slopes, *own = torch.autograd.grad(
            self._mean(output, denominators), [values, *head], materialize_grads=True
        )
        by_batch = slopes.split([len(own_values) for own_values, _ in parts])
        second = self._second(batches, by_batch, drawn)
        for place, (index, batch, slope) in enumerate(second):
            last = place == len(second) - 1
            with self._quiet_until(last):
                self._seeded(step, index)
                again = (self._module(batch, None, "logps") * slope).sum()
                if last:
                    again = again + _linear(head, own)
                self._accelerator.backward(again)
        tally = Tally()
        tally.add(whole, output)
        return tally

    def _second(
        self, batches: Sequence[Batch], slopes: Sequence[torch.Tensor], drawn: Sequence[bool]
    ) -> list[tuple[int, Batch, torch.Tensor]]:
        """The micro-batches of the second pass, with their numbers and slopes: at least one.

        A loss that names tokens itself may go by the whole batch, and is given it.
        """
        found = []
        for index, (batch, slope, drew) in enumerate(zip(batches, slopes, drawn, strict=True)):
            if drew or self._loss.needs != "logps":
                found.append((index, batch, slope))
                continue
            part, values = needed(batch, slope)
            if part is None:
                continue
            if self._by_length and part.positions.max() != batch.positions.max():
                found.append((index, batch, slope))
            else:
                found.append((index, part, slope[values]))
        return found or [(0, batches[0], slopes[0])]


def _linear(
    parameters: Sequence[torch.nn.Parameter], slopes: Sequence[torch.Tensor]
) -> torch.Tensor | float:
    """A number whose derivative by each parameter is its slope, so that backward adds that."""
    parts = [(p * s).sum() for p, s in zip(parameters, slopes, strict=True)]
    return torch.stack(parts).sum() if parts else 0.0


def join_handed(parts: Sequence[Handed]) -> Handed:
    """What a loss is called with for several micro-batches, as for one, in order."""
    collisions = [collision for _, collision in parts if collision is not None]
    values = torch.cat([values for values, _ in parts])
    return values, torch.cat(collisions) if collisions else None


_AS_THEY_ARE = (
    "ids", "positions", "role", "supervised", "weights", "target_weights", "margins",
)  # fmt: skip
"""Columns of a batch that hold no index."""


def join(batches: Sequence[Batch]) -> Batch:
    """Several micro-batches as one batch, in order."""
    from anima_core.batch import Batch, Segment

    layout: list[Segment] = []
    columns: dict[str, list[torch.Tensor]] = defaultdict(list)
    rows: tuple[int, ...] = ()
    tokens = 0
    for batch in batches:
        first = len(layout)
        columns["example"].append(batch.example + len(rows))
        columns["segment"].append(batch.segment + first)
        columns["sources"].append(batch.sources + tokens)
        for name in _AS_THEY_ARE:
            columns[name].append(getattr(batch, name))
        layout += [
            Segment(s.start + tokens, s.stop + tokens, s.parent + first if s.parent >= 0 else -1)
            for s in batch.layout
        ]
        rows += batch.rows
        tokens += batch.tokens
    joined = {name: torch.cat(parts) for name, parts in columns.items()}
    return Batch(**joined, layout=tuple(layout), rows=rows)
