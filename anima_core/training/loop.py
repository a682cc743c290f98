"""The training loop: one item is one optimizer step.

prepare -> seed -> micro-batches forward and backward -> clip -> finite? -> step -> events,
metrics -> evaluate, sample, save when due
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from anima_core.data.batching import step_rows
from anima_core.errors import DivergedError
from anima_core.training.memory import peak_memory
from anima_core.training.step import StepRunner, Tally, add_denominators, cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anima_core.batch import Batch, EncodedExample
    from anima_core.config.core import CoreOptions
    from anima_core.context import RunContext
    from anima_core.contracts import Loss
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
    reference: Reference | None
    parameters: Sequence[torch.nn.Parameter]

    def steps(self, start: int, total: int, after: Callable[[dict[str, Any]], bool]) -> int:
        """Take optimizer steps.

        Args:
            start: steps already taken.
            total: steps to end at.
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
        rows = step_rows(len(self.examples), config.batch_size, config.seed, step)
        batches = self._batches(rows)
        denominators = self._sum(add_denominators(self.loss, batches))
        tally = runner.backward(step, batches, denominators, self.reference)
        loss = self._sum({"loss": tally.loss(denominators)})["loss"]
        if not math.isfinite(loss):
            raise _diverged(step, "the loss", loss)
        norm = float(self._clip(config.max_grad_norm))
        scaler = self.accelerator.scaler
        if not math.isfinite(norm) and scaler is None:
            raise _diverged(step, "the gradient's norm", norm)
        rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        record = {
            "step": step + 1,
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": norm,
            "examples": len(rows),
            **self._counts(tally),
        }
        if not math.isfinite(norm):
            record |= {"skipped": True, "grad_norm": None}
        return record

    def _batches(self, rows: Sequence[int]) -> list[Batch]:
        """This rank's micro-batches of a step; every rank has at least one."""
        run = self.run
        own = rows[run.rank :: run.world]
        return [b.to(run.device) for b in cut(self.examples, own, run.config.micro_tokens)]

    def _clip(self, limit: float) -> torch.Tensor:
        """Clip the gradient's norm; the norm before clipping, and no clipping for a limit of 0."""
        norm: torch.Tensor = self.accelerator.clip_grad_norm_(
            self.parameters, limit if limit > 0 else math.inf
        )
        return norm

    def _sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sums over all ranks."""
        if self.run.world == 1:
            return dict(values)
        sums = torch.tensor(list(values.values()), dtype=torch.float64, device=self.run.device)
        sums = self.accelerator.reduce(sums, reduction="sum")
        return dict(zip(values, sums.tolist(), strict=True))

    def _counts(self, tally: Tally) -> dict[str, Any]:
        """Tokens and metric means over all ranks."""
        flat: dict[str, float] = {"tokens": float(tally.tokens)}
        for name, (value, count) in tally.metrics.items():
            flat[f"sum.{name}"], flat[f"count.{name}"] = value, count
        flat = self._sum(flat)
        means = {
            name: flat[f"sum.{name}"] / flat[f"count.{name}"]
            for name in tally.metrics
            if flat[f"count.{name}"]
        }
        return {"tokens": int(flat["tokens"]), **means}

    def _rates(self, record: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        return {
            "seconds": seconds,
            "tokens_per_second": record["tokens"] / seconds,
            "memory_bytes": peak_memory(self.run.device),
        }


def _diverged(step: int, what: str, value: float) -> DivergedError:
    return DivergedError(
        f"{what} is {value} at step {step + 1}; the optimizer did not step",
        where="training",
        fix="Lower --learning-rate, or look at this step's data; --resume goes on from the last "
        "checkpoint.",
    )
