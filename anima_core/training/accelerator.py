"""Accelerate, set up for one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anima_core.context import RunContext

PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def make_accelerator(run: RunContext) -> Any:
    """An `Accelerator` for a run's device and dtype.

    Accelerate keeps its state in the process; a run before this one, with another dtype, must
    not decide about this one.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state()
    GradientState._reset_state()
    return Accelerator(
        cpu=run.device == "cpu",
        mixed_precision=PRECISIONS[run.dtype],
        step_scheduler_with_optimizer=False,
    )
