"""Accelerate, set up for one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from anima_core.context import RunContext

PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def make_accelerator(run: RunContext, *, some_unused: bool = False) -> Any:
    """An `Accelerator` for a run's device and dtype.

    Args:
        run: the run.
        some_unused: whether a trained parameter may have no part in the loss, as the output
            projection has none in a loss of hidden states.

    Accelerate keeps its state in the process; a run before this one, with another dtype, must
    not decide about this one. The process group outlives the run.

    DDP exchanges gradients and nothing else: buffers (RoPE's frequencies) are the same everywhere,
    and processes call the module unequally often. An expert that no token chose has a gradient of
    zero; looking for such parameters costs time, so that only mixtures of experts do, and
    `some_unused`.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState
    from accelerate.utils import DistributedDataParallelKwargs

    AcceleratorState._reset_state()
    GradientState._reset_state()
    return Accelerator(
        cpu=run.device == "cpu",
        mixed_precision=PRECISIONS[run.dtype],
        step_scheduler_with_optimizer=False,
        kwargs_handlers=[
            DistributedDataParallelKwargs(
                broadcast_buffers=False,
                find_unused_parameters=some_unused or has_experts(run.model_config),
            )
        ],
    )


def has_experts(config: PretrainedConfig) -> bool:
    """Whether a model may leave a parameter out of one micro-batch and not of another."""
    counts = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    return any((getattr(config, name, None) or 0) > 1 for name in counts)
