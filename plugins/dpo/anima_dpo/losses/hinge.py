"""A loss that asks for a margin and is content with it."""

from __future__ import annotations

import torch

from anima_dpo.losses.logistic import margin
from anima_dpo.pairs import Knobs, Pairs


def hinge(pairs: Pairs, knobs: Knobs) -> torch.Tensor:
    """The hinge loss on normalised likelihoods (Liu et al. 2023, "RSO", arXiv:2309.06657, §3).

    That is SLiC (Zhao et al. 2023, arXiv:2305.10425) with the reference divided out::

        max(0, 1 - beta * (s(w) - s(l)))

    Returns:
        ``[E]``.
    """
    return torch.relu(1 - margin(pairs, knobs))
