"""Losses of the logistic family: the log-likelihood of the label under Bradley and Terry."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from anima_dpo.pairs import Knobs, Pairs


def sigmoid(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """Direct Preference Optimisation (Rafailov et al. 2023, arXiv:2305.18290, eq. 7).

    With the margin ``m = beta * (s(w) - s(l))`` and the label smoothing e::

        -(1 - e) * log sigmoid(m) - e * log sigmoid(-m)

    Smoothing: Mitchell 2023, "A note on DPO with noisy preferences & relationship to IPO"
    (conservative DPO).

    Returns:
        ``[E]``.
    """
    return smoothed(margin(pairs, knobs), knobs.smoothing)


def robust(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """Robust DPO (Chowdhury et al. 2024, arXiv:2403.00409, eq. 9 to 12).

    An unbiased estimate of the loss under the true labels when a share e of them is flipped,
    with the margin ``m = beta * (s(w) - s(l))``::

        (-(1 - e) * log sigmoid(m) + e * log sigmoid(-m)) / (1 - 2e)

    Returns:
        ``[E]``; it may be below 0.
    """
    m, e = margin(pairs, knobs), knobs.smoothing
    return (-(1 - e) * logsigmoid(m) + e * logsigmoid(-m)) / (1 - 2 * e)


def discopop(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """The log-ratio modulated loss (Lu et al. 2024, "DiscoPOP", arXiv:2406.08414, eq. 5).

    With the margin ``m = beta * (s(w) - s(l))`` and the share ``g = sigmoid(m / tau)``::

        (1 - g) * -log sigmoid(m) + g * exp(-m)

    Returns:
        ``[E]``.
    """
    m = margin(pairs, knobs)
    share = torch.sigmoid(m / knobs.tau)
    # g * exp(-m) as one exponential: exp(-m) alone overflows where g is 0 for it.
    exponential = torch.exp(logsigmoid(m / knobs.tau) - m)
    return (1 - share) * -logsigmoid(m) + exponential


def margin(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """The margin of implicit rewards, ``[E]``."""
    return knobs.beta * pairs.chosen - knobs.beta * pairs.rejected


def smoothed(m: torch.Tensor, e: float) -> torch.Tensor:
    """The logistic loss of margins m when a share e of the labels is wrong, of m's shape."""
    right, wrong = -logsigmoid(m), -logsigmoid(-m)
    return (1 - e) * right + e * wrong
