"""What an f-divergence makes of the log-ratio of an answer (f-DPO, arXiv:2309.16240)."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import logsigmoid

from anima_dpo.options import Divergence

LARGEST = 80.0
"""The largest exponent; float32 and bfloat16 hold e to the 88."""


def score(log_ratio: torch.Tensor, divergence: Divergence, alpha: float) -> torch.Tensor:
    """``f'(u)`` at ``u = pi(y|x) / pi_ref(y|x)``: with it, beta f'(u) is the implicit reward.

    Wang et al. 2023, "Beyond Reverse KL", arXiv:2309.16240, theorem 1 and table 1. A constant in
    f' cancels in the difference of two answers, as long as neither is divided by its length, and is
    chosen here so that f'(1) = 0: an answer that is as likely as under the reference has no
    reward. `anima_dpo.checks` refuses what it would not cancel in::

        reverse_kl          f'(u) = log u
        forward_kl          f'(u) = 1 - 1/u
        js_divergence       f'(u) = log(2u / (1 + u))
        alpha_divergence    f'(u) = (1 - u^-(1 - a)) / (1 - a)        1 - a is the paper's alpha

    Args:
        log_ratio: ``log u``, ``[E]``.
        divergence: which.
        alpha: a, in (0, 1); towards 0 it is forward_kl, towards 1 reverse_kl.

    Returns:
        ``[E]``. Where u is so small that 1/u would overflow, it stays at its value at e^-80.
    """
    if divergence == "forward_kl":
        return 1 - _power(-log_ratio)
    if divergence == "js_divergence":
        return math.log(2) + logsigmoid(log_ratio)
    if divergence == "alpha_divergence":
        return (1 - _power((alpha - 1) * log_ratio)) / (1 - alpha)
    return log_ratio


def _power(exponent: torch.Tensor) -> torch.Tensor:
    return exponent.clamp(max=LARGEST).exp()
