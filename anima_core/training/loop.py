"""The training loop: one item is one optimizer step.

prepare -> seed -> micro-batches forward and backward -> clip -> finite? -> step -> events,
metrics -> evaluate, sample, save when due

With several processes each takes examples of about as many tokens; all of them see the step's loss
and gradient, and so decide alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from anima_core.data.dealing import share
from anima_core.errors import AnimaError, DivergedError
from anima_core.training.memory import peak_memory
from anima_core.training.step import StepRunner, add_denominators, cut
from anima_core.training.talk import add, exchange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anima_core.batch import Batch, EncodedExample
    from anima_core.config.core import CoreOptions
    from anima_core.context import RunContext
    from anima_core.contracts import Loss
    from anima_core.data.batching import Batches
    from anima_core.training.reference import Reference

MAX_SKIPPED = 20
"""float16 steps in a row that may overflow while the gradient scaler settles."""


@dataclass
class Loop:
    """What the loop works on.

    Attributes:
        run: the run.
        module: what Accelerate wrapped.
        loss: the loss.
        optimizer, schedule, accelerator: as Accelerate prepared them.
        examples: the data.
        order: which of them make up a step.
        reference: reference log-probs, or None.
        parameters: what is trained.
    """

    run: RunContext
    module: Any
    loss: Loss
    optimizer: Any
    schedule: Any
    accelerator: Any
    examples: Sequence[EncodedExample]
    order: Batches
    reference: Reference | None
    parameters: Sequence[torch.nn.Parameter]

    def steps(
        self,
        start: int,
        total: int,
        *,
        before: Callable[[], None],
        after: Callable[[dict[str, Any]], bool],
    ) -> int:
        """Take optimizer steps.

        Args:
            start: steps already taken.
            total: steps to end at.
            before: called before each step.
            after: called with each step's record; says whether to stop.

        Returns:
            The number of steps taken in all.

        Raises:
            DivergedError: the loss or the gradient is not finite; the optimizer did not step.
        """
        config = self.run.config
        runner = StepRunner(
            self.module, self.loss, self.accelerator, config.seed, self.run.rank, self.run.world
        )
        skipped = 0
        for step in range(start, total):
            before()
            began = time.perf_counter()
            record = self._one(runner, step, config)
            skipped = skipped + 1 if record.get("skipped") else 0
            if skipped > MAX_SKIPPED:
                raise _diverged(step, "the gradient", math.inf)
            record |= self._rates(record, time.perf_counter() - began)
            if after(record):
                return step + 1
        return total

    def _one(self, runner: StepRunner, step: int, config: CoreOptions) -> dict[str, Any]:
        """One optimizer step; its record."""
        self.module.train()
        rows = self.order.rows(step)
        lengths = [int(self.order.lengths[row]) for row in rows]
        own = share(lengths, self.run.rank, self.run.world)
        batches = self._batches([rows[index] for index in own])
        denominators = add(add_denominators(self.loss, batches))
        if batches:
            tally = runner.backward(step, batches, denominators, self.reference)
        else:  # a last batch smaller than the world
            shortest = rows[lengths.index(min(lengths))]
            tally = runner.take_part(step, self._batches([shortest])[0], self.reference)
        tally = tally.over_ranks()
        loss = tally.loss(denominators)
        if not math.isfinite(loss):
            raise _diverged(step, "the loss", loss)
        norm = same_norm(float(self._clip(config.max_grad_norm)), step)
        scaler = self.accelerator.scaler
        if not math.isfinite(norm) and scaler is None:
            raise _diverged(step, "the gradient's norm", norm)
        rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        if (done := getattr(self.loss, "step_done", None)) is not None:
            done(tally.sums())
        record = {
            "step": step + 1,
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": norm,
            "examples": len(rows),
            "tokens": tally.tokens,
            **tally.means(self.loss),
        }
        if not math.isfinite(norm):
            record |= {"skipped": True, "grad_norm": None}
        return record

    def _batches(self, rows: Sequence[int]) -> list[Batch]:
        """Micro-batches of some rows, on this process's device."""
        parts = cut(self.examples, rows, self.run.config.micro_tokens)
        return [batch.to(self.run.device) for batch in parts]

    def _clip(self, limit: float) -> torch.Tensor:
        """Clip the gradient's norm; the norm before clipping, and no clipping for a limit of 0."""
        norm: torch.Tensor = self.accelerator.clip_grad_norm_(
            self.parameters, limit if limit > 0 else math.inf
        )
        return norm

    def _rates(self, record: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        return {
            "seconds": seconds,
            "tokens_per_second": record["tokens"] / seconds,
            "memory_bytes": peak_memory(self.run.device),
        }


def same_norm(norm: float, step: int) -> float:
    """This process's gradient norm, which is every process's: the exchange was complete.

    DDP leaves out, without a word, whatever shares a bucket with a parameter that the last
    micro-batch did not reach.

    Raises:
        AnimaError: the processes hold different gradients.
    """
    norms = exchange(norm)
    finite = [n for n in norms if math.isfinite(n)]
    if not finite or (len(finite) == len(norms) and max(finite) <= min(finite) * (1 + 1e-4)):
        return norm
    error = AnimaError(
        f"the processes hold different gradients at step {step + 1} (norms "
        f"{', '.join(f'{n:g}' for n in norms)}): some trained parameter has no part in the loss",
        where="training",
        fix="Train fewer parameters, or in one process.",
    )
    error.shared = True
    raise error


def _diverged(step: int, what: str, value: float) -> DivergedError:
    return DivergedError(
        f"{what} is {value} at step {step + 1}; the optimizer did not step",
        where="training",
        fix="Lower --learning-rate, or look at this step's data; --resume goes on from the last "
        "checkpoint.",
    )
