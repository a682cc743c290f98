"""A loss that matches two distributions over a pair's answers."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import logsigmoid

from anima_dpo.losses.logistic import margin
from anima_dpo.pairs import Knobs, Pairs


def exo_pair(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """Exact Optimisation from preferences (Ji et al. 2024, "EXO", arXiv:2402.00856, eq. 16).

    The reverse KL of two distributions over {w, l}: the model's, ``q = sigmoid(m)`` with the
    margin ``m = beta * (s(w) - s(l))``, and that of the labels with smoothing e > 0::

        q * (log q - log(1 - e)) + (1 - q) * (log(1 - q) - log e)

    Returns:
        ``[E]``.
    """
    m = margin(pairs, knobs)
    e = knobs.smoothing
    right = torch.sigmoid(m) * (logsigmoid(m) - math.log1p(-e))
    return right + torch.sigmoid(-m) * (logsigmoid(-m) - math.log(e))
