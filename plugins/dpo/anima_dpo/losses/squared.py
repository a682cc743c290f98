"""Losses that pull a log-ratio to a number: least squares."""

from __future__ import annotations

import torch

from anima_dpo.pairs import Knobs, Pairs


def ipo(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """Identity Preference Optimisation (Azar et al. 2023, arXiv:2310.12036, eq. 17).

    The scores are means over tokens, as the paper's authors had them; beta is its tau::

        (s(w) / |w| - s(l) / |l| - 1 / (2 beta))^2

    Returns:
        ``[E]``.
    """
    return (pairs.chosen_mean - pairs.rejected_mean - 1 / (2 * knobs.beta)) ** 2


def sppo_hard(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """Self-Play Preference Optimisation with hard labels (Wu et al. 2024, arXiv:2405.00675).

    Equation 4.7 with the probability of winning 1 for w and 0 for l, and ``eta = 1 / beta``::

        (s(w) - 1 / (2 beta))^2 + (s(l) + 1 / (2 beta))^2

    Returns:
        ``[E]``.
    """
    half = 1 / (2 * knobs.beta)
    return (pairs.chosen - half) ** 2 + (pairs.rejected + half) ** 2
