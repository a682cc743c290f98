"""Losses that ask of each answer by itself whether it is a good one."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from anima_dpo.pairs import Knobs, Pairs


def bco_pair(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """Binary Classifier Optimisation of pairs (Jung et al. 2024, arXiv:2404.04656).

    The cross-entropy of a classifier whose logit is the implicit reward less a shift d, the
    mean of the rewards seen so far::

        -log sigmoid(beta * s(w) - d) - log sigmoid(-(beta * s(l) - d))

    Returns:
        ``[E]``.
    """
    chosen = knobs.beta * pairs.chosen - knobs.shift
    rejected = knobs.beta * pairs.rejected - knobs.shift
    return -logsigmoid(chosen) - logsigmoid(-rejected)


def nca_pair(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """Noise Contrastive Alignment of pairs (Chen et al. 2024, arXiv:2402.05369).

    Its loss for K = 2 answers, of which the data says that one is right; r is beta times s::

        -log sigmoid(r(w)) - 1/2 * log sigmoid(-r(w)) - 1/2 * log sigmoid(-r(l))

    Returns:
        ``[E]``.
    """
    chosen, rejected = knobs.beta * pairs.chosen, knobs.beta * pairs.rejected
    noise = logsigmoid(-chosen) + logsigmoid(-rejected)
    return -logsigmoid(chosen) - noise / 2
