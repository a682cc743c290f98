"""Tokens of an answer: how many there are, and how much each counts."""

from __future__ import annotations

import torch

from anima_core import Batch, DataError, Role


def lengths(batch: Batch, loss: str) -> tuple[torch.Tensor, torch.Tensor]:
    """How many targets the chosen and the rejected answers have, ``[E]`` int64 each.

    Args:
        batch: the pairs.
        loss: who asks, for the error.

    Raises:
        DataError: an answer has none.
    """
    ones = torch.ones_like(batch.targets)
    found = []
    for role in (Role.CHOSEN, Role.REJECTED):
        counts = batch.per_example(ones, role)
        empty = (counts == 0).nonzero().flatten().tolist()
        if empty:
            rows = ", ".join(str(batch.rows[index] + 1) for index in empty[:5])
            raise DataError(
                f"no token of the {role.name.lower()} answer is a target in example {rows}",
                where=loss,
                fix="Give every pair a chosen and a rejected answer that fit --max-length.",
            )
        found.append(counts)
    chosen, rejected = found
    return chosen, rejected


def desensitised(
    values: torch.Tensor, batch: Batch, chosen: torch.Tensor, rejected: torch.Tensor, alpha: float
) -> torch.Tensor:
    """Values of tokens, those past the shorter answer's length times alpha (LD-DPO).

    Liu et al. 2024, "Length Desensitization in Direct Preference Optimization",
    arXiv:2409.06411::

        log pi_LD(y|x) = sum over i <= l of log p(y_i) + alpha * sum over i > l of log p(y_i)
        l = min(length of w, length of l)

    Args:
        values: by target, ``[S]``.
        batch: the pairs.
        chosen, rejected: the answers' lengths, ``[E]``.
        alpha: what a token past the common length counts, in [0, 1].

    Returns:
        ``[S]``, of values' dtype.
    """
    common = torch.minimum(chosen, rejected)[batch.target_example]
    return torch.where(_number_in_answer(batch) < common, values, alpha * values)


def _number_in_answer(batch: Batch) -> torch.Tensor:
    """Each target's number, from 0, among those of its answer, ``[S]`` int64."""
    answer = batch.target_example * len(Role) + batch.target_role
    order = torch.argsort(answer, stable=True)
    counts = torch.bincount(answer, minlength=batch.examples * len(Role))
    first = counts.cumsum(0) - counts
    number = torch.empty_like(answer)
    number[order] = torch.arange(len(answer), device=answer.device) - first[answer[order]]
    return number


def likelihood_weights(
    batch: Batch, logps: torch.Tensor, chosen: torch.Tensor, rejected: torch.Tensor
) -> torch.Tensor:
    """How likely the model finds both answers of each pair: what WPO weighs it by.

    Zhou et al. 2024, "WPO: Enhancing RLHF with Weighted Preference Optimization",
    arXiv:2406.11827, §3.2, by length-normalised probabilities and without a gradient::

        weight = p(w) * p(l)        p(y) = exp(mean over tokens of log pi(y_i|x, y_<i))

    The paper also divides each token's probability by that of what the model would have sampled
    there, the sum over the vocabulary of pi^2 ("sampled alignment"); that takes more than the
    targets' log-probs, and is not done here.

    Args:
        batch: the pairs.
        logps: log-probs of the targets, ``[S]``.
        chosen, rejected: the answers' lengths, ``[E]``.

    Returns:
        ``[E]``, in (0, 1].
    """
    spoken = logps.detach()
    means = batch.per_example(spoken, Role.CHOSEN) / chosen
    return (means + batch.per_example(spoken, Role.REJECTED) / rejected).exp()
