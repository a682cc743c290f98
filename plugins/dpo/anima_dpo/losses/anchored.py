"""Anchored Preference Optimisation: it says which way each answer's likelihood goes."""

from __future__ import annotations

import torch

from anima_dpo.losses.logistic import margin
from anima_dpo.pairs import Knobs, Pairs


def apo_zero(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """APO-zero (D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7).

    For chosen answers that are better than the model's own: w gets likelier, l less likely::

        (1 - sigmoid(beta * s(w))) + sigmoid(beta * s(l))

    Returns:
        ``[E]``.
    """
    return torch.sigmoid(-knobs.beta * pairs.chosen) + torch.sigmoid(knobs.beta * pairs.rejected)


def apo_down(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """APO-down (D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 8).

    For chosen answers that are worse than the model's own: both get less likely, l more so::

        sigmoid(beta * s(w)) + (1 - sigmoid(beta * (s(w) - s(l))))

    Returns:
        ``[E]``.
    """
    return torch.sigmoid(knobs.beta * pairs.chosen) + torch.sigmoid(-margin(pairs, knobs))
