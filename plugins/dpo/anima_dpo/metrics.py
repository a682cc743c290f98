"""What a person watches: (sum, count) pairs that are means over the pairs of a step."""

from __future__ import annotations

import torch

from anima_core import Batch, Role

Means = dict[str, tuple[float | torch.Tensor, float | torch.Tensor]]


def reward_means(chosen: torch.Tensor, rejected: torch.Tensor) -> Means:
    """The rewards of both answers, their margin, and how often it is above 0.

    Args:
        chosen: the chosen answers' rewards, ``[E]``; no gradient is kept.
        rejected: the rejected answers'.

    Returns:
        Means over pairs; in the accuracy a tie counts half.
    """
    chosen, rejected = chosen.detach(), rejected.detach()
    margin = chosen - rejected
    accuracy = (margin.sign() + 1) / 2
    values = {"rewards_chosen": chosen, "rewards_rejected": rejected, "margin": margin}
    return means(values | {"accuracy": accuracy})


def logp_means(batch: Batch, logps: torch.Tensor) -> Means:
    """The log-probs of both answers, in nats an answer, as means over pairs."""
    spoken = logps.detach()
    roles = {"logps_chosen": Role.CHOSEN, "logps_rejected": Role.REJECTED}
    return means({name: batch.per_example(spoken, role) for name, role in roles.items()})


def means(values: dict[str, torch.Tensor]) -> Means:
    """The mean of each tensor's entries, as a metric."""
    return {name: (value.sum(), float(len(value))) for name, value in values.items()}
