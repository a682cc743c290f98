"""Alignment via Optimal Transport: the sorted margins of a whole step are compared."""

from __future__ import annotations

import torch

from anima_dpo.losses.logistic import smoothed
from anima_dpo.pairs import Knobs, Pairs


def aot(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """AOT of paired answers (Melnyk et al. 2024, arXiv:2406.05882, §3).

    The model's margins ``log pi(w) - log pi(l)`` are to be stochastically larger than those of
    the reference: both are sorted over the step, and the i-th of one is compared with the i-th
    of the other, with the label smoothing e::

        u = sorted(log pi(w) - log pi(l))         v = sorted(log pi_ref(w) - log pi_ref(l))
        sum over i of -(1 - e) * log sigmoid(beta (u_i - v_i)) - e * log sigmoid(-beta (u_i - v_i))

    Returns:
        A scalar.
    """
    return _dominance(pairs.policy, pairs.reference, pairs.weights, knobs)


def aot_unpaired(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """AOT of unpaired answers (Melnyk et al. 2024, arXiv:2406.05882, §3).

    The scores of chosen answers are to be stochastically larger than those of rejected ones::

        u = sorted(s(w))                          v = sorted(s(l))
        sum over i of -(1 - e) * log sigmoid(beta (u_i - v_i)) - e * log sigmoid(-beta (u_i - v_i))

    Returns:
        A scalar.
    """
    return _dominance(pairs.chosen, pairs.rejected, pairs.weights, knobs)


def _dominance(
    upper: torch.Tensor, lower: torch.Tensor, weights: torch.Tensor, knobs: Knobs
) -> torch.Tensor:
    """The logistic loss between the quantiles of two samples whose weights are the same ``[E]``.

    Sorting couples quantile with quantile, which is optimal transport in one dimension. With
    weights a quantile function is a staircase whose steps are the weights, and each stretch on
    which neither staircase changes is a pair of its own, counted by its length; a weight of 2
    so counts an example twice. Equal weights couple the i-th with the i-th.
    """
    (u, up), (v, down) = (sample.sort() for sample in (upper, lower))
    tops, bottoms = (weights.double()[order].cumsum(0) for order in (up, down))
    ends = torch.cat((tops, bottoms)).sort().values
    stretch = ends.diff(prepend=ends.new_zeros(1))
    middle = ends - stretch / 2
    last = len(u) - 1
    i, j = (torch.searchsorted(steps, middle).clamp(max=last) for steps in (tops, bottoms))
    losses = smoothed(knobs.beta * (u[i] - v[j]), knobs.smoothing)
    return (stretch.to(losses.dtype) * losses).sum()
