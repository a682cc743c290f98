"""Negative log-likelihood of the chosen answers, alone or beside a preference loss."""

from __future__ import annotations

import torch

from anima_core import Batch, Role


def sft(batch: Batch, logps: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Supervised fine-tuning on the chosen answers.

    The mean over all of a step's tokens, weighted by their examples; this is its numerator::

        sum over chosen tokens of -weight * log pi(token)  /  sum over chosen tokens of weight

    Args:
        batch: the pairs.
        logps: log-probs of the targets, ``[S]``.
        weights: what each pair counts in the numerator, ``[E]``; the examples' weights when None.

    Returns:
        A scalar.
    """
    weights = batch.weights.to(logps.dtype) if weights is None else weights
    return -(weights * batch.per_example(logps, Role.CHOSEN)).sum()


def sft_denominator(batch: Batch) -> float:
    """The weighted number of chosen tokens."""
    chosen = batch.target_role == int(Role.CHOSEN)
    return float(batch.weights.double()[batch.target_example[chosen]].sum())


def rpo(batch: Batch, logps: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The likelihood term of RPO (Pang et al. 2024, arXiv:2404.19733, eq. 1).

    Each pair counts the same, whatever its length::

        -log pi(w|x) / |w|

    Args:
        batch: the pairs.
        logps: log-probs of the targets, ``[S]``.
        chosen: the chosen answers' lengths |w|, ``[E]``.

    Returns:
        ``[E]``.
    """
    return -batch.per_example(logps, Role.CHOSEN) / chosen
