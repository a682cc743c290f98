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
    batch: Batch,
    logps: torch.Tensor,
    collision: torch.Tensor,
    chosen: torch.Tensor,
    rejected: torch.Tensor,
) -> torch.Tensor:
    """How likely the model finds both answers of each pair: what WPO weighs it by.

    Zhou et al. 2024, "WPO: Enhancing RLHF with Weighted Preference Optimization",
    arXiv:2406.11827, §3.2 with "sampled alignment", by length-normalised probabilities and without
    a gradient::

        weight = w(w) * w(l)
        w(y)   = exp(mean over tokens of log pi(y_i|x, y_<i) - log sum over v of pi(v|x, y_<i)^2)

    The sum is the probability that a token which the model samples has on average, so that an
    answer of its own weighs 1 or somewhat less, however sure it is of its words. A likelier one
    weighs more: nothing is cut at 1, as in TRL 1.16 and unlike in the authors' code.

    Args:
        batch: the pairs.
        logps: log-probs of the targets, ``[S]``.
        collision: the logarithms of those sums, ``[S]``.
        chosen, rejected: the answers' lengths, ``[E]``.

    Returns:
        ``[E]``, above 0.
    """
    spoken = logps.detach() - collision.to(logps.dtype)
    means = batch.per_example(spoken, Role.CHOSEN) / chosen
    return (means + batch.per_example(spoken, Role.REJECTED) / rejected).exp()
