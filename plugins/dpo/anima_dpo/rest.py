"""The last step of a pass, where a loss that looks at the whole step finds too few examples in it.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anima_core import Problem

if TYPE_CHECKING:
    from anima_core import RunContext


@dataclass(frozen=True)
class Steps:
    """How a run goes through its data.

    Attributes:
        size: examples of an optimizer step.
        count: optimizer steps, or None where epochs say how many.
        epochs: passes over the data.
    """

    size: int
    count: int | None = None
    epochs: float = 1.0

    @classmethod
    def of(cls, run: RunContext) -> Steps:
        """Those of a run."""
        return cls(run.config.batch_size, run.config.steps, run.config.epochs)

    def rest(self, examples: int) -> int:
        """Examples of the last step of a pass, where the run gets there and it is smaller; else 0.

        Data of one step or less has no last step that differs from the others.
        """
        passes = -(-examples // self.size)
        get_there = self.epochs >= 1 if self.count is None else self.count >= passes
        return examples % self.size if get_there and passes > 1 else 0


def small_rest(examples: int, steps: Steps, why: str, least: int = 2) -> Iterator[Problem]:
    """A last step that holds fewer than half of what the others do.

    Args:
        examples: of the data.
        steps: how the run goes through it.
        why: what the loss makes of the examples of a step, for the text.
        least: the smallest size of a step that is advised.
    """
    rest = steps.rest(examples)
    if not _small(rest, steps.size):
        return
    other = _even(examples, steps.size, least)
    held = "1 example" if rest == 1 else f"{rest:,} examples"
    yield Problem(
        "--batch-size",
        f"the last step of each pass holds {held} of {steps.size:,}, and {why}",
        f"Say --batch-size {other}, which leaves none of less than half."
        if other
        else "Take another --batch-size, or leave out the rest with --max-examples.",
        level="warning",
    )


def _small(rest: int, size: int) -> bool:
    return 0 < 2 * rest < size


def _even(examples: int, size: int, least: int) -> int:
    """The size nearest to `size`, up to twice it, whose last step is not small; 0 where none is."""
    sizes = sorted(range(least, 2 * size + 1), key=lambda other: (abs(other - size), -other))
    return next((n for n in sizes if n < examples and not _small(examples % n, n)), 0)
