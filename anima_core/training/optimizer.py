"""Parameter groups and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from anima_core.config.core import CoreOptions, Schedule


def parameter_groups(
    trainable: Mapping[str, torch.nn.Parameter], weight_decay: float
) -> list[dict[str, Any]]:
    """Group parameters: matrices decay; biases, norms and other vectors do not."""
    matrices = [p for p in trainable.values() if p.ndim >= 2]
    vectors = [p for p in trainable.values() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def warmup_steps(warmup: float, total: int) -> int:
    """Steps of warm-up: a fraction of all steps when below 1, else a number of steps."""
    return math.ceil(warmup * total) if warmup < 1 else int(warmup)


def schedule_factor(schedule: Schedule, step: int, warmup: int, total: int) -> float:
    """What the peak learning rate is multiplied by.

    Args:
        schedule: the shape after the warm-up.
        step: optimizer steps already taken; the first step has 0, and no step has factor 0.
        warmup: steps of linear warm-up.
        total: all steps.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    if schedule == "linear":
        return 1.0 - progress
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def learning_rate_schedule(
    optimizer: torch.optim.Optimizer, config: CoreOptions, total: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The schedule over `total` optimizer steps."""
    import torch

    warmup = warmup_steps(config.warmup, total)
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: schedule_factor(config.schedule, step, warmup, total)
    )
