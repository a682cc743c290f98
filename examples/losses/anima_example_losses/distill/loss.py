"""The distillation loss, over the log-probs of the tokens that a teacher finds likely."""

from __future__ import annotations

from typing import Protocol

import torch

import anima_core

FLOOR = 1e-6
"""The least probability that the tokens beyond the first k are given together: float32 has lost
the digits of 1 minus a sum of probabilities there."""


class Topk(Protocol):
    """Who knows the likeliest tokens at every target's place of a batch."""

    def topk(self, batch: anima_core.Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Their ids ``[S, k]`` int64, and log-probs ``[S, k]``, the likeliest first."""
        ...


class DistillLoss(anima_core.TopkLoss):
    """``alpha * KL(teacher || model) + (1 - alpha) * -log p(token)``, the mean over tokens.

    This is Hinton et al. 2015, arXiv:1503.02531, section 2, at temperature 1. The divergence is
    over k + 1 outcomes: the teacher's k likeliest tokens, and all others together::

        KL = sum over i <= k of t_i (log t_i - log p_i) + t_rest (log t_rest - log p_rest)
        t_rest = 1 - sum of t_i,   p_rest = 1 - sum of p_i

    Both sides are distributions, so it is never negative, is 0 only where they agree, and is at
    most the divergence over the whole vocabulary, which it is at k = V. Without the last term
    neither holds: a model that puts no probability on the k tokens' rivals would be favoured.

    There is no temperature. A distribution softened by T is ``p_i^(1/T) / sum over v of
    p_v^(1/T)``, and the sum runs over the whole vocabulary, of which k log-probs are known.

    Args:
        teacher: whom to learn from.
        alpha: weight of the divergence, in [0, 1].
    """

    data = "completion"
    scope = "example"
    needs = "topk"
    uses_reference = False
    weighs_tokens = True

    def __init__(self, teacher: Topk, alpha: float) -> None:
        self.teacher = teacher
        self.alpha = alpha

    def wanted(self, batch: anima_core.Batch) -> torch.Tensor:
        """The target in column 0, then the teacher's k likeliest tokens: ``[S, 1 + k]`` int64."""
        ids, _ = self.teacher.topk(batch)
        return torch.cat([batch.targets[:, None], ids], dim=1)

    def denominators(self, batch: anima_core.Batch) -> dict[str, float]:
        """The tokens, each counted by its weight, for both totals."""
        tokens = float(batch.target_weights.double().sum())
        return {"kl": tokens, "nll": tokens}

    def __call__(
        self,
        batch: anima_core.Batch,
        logps: torch.Tensor,
        reference: torch.Tensor | None = None,  # noqa: ARG002
    ) -> anima_core.LossOutput:
        """The totals of a batch, and how far the model is from its teacher.

        Args:
            batch: E examples with S supervised tokens.
            logps: log-probs of the tokens that were wanted, ``[S, 1 + k]``, differentiable.
            reference: not used.

        Returns:
            The totals ``kl`` and ``nll``, already weighted by alpha and 1 - alpha, and metrics,
            plain means over tokens: ``kl`` and ``nll`` in nats, without those weights;
            ``agreement``, the share of places where the teacher's first token is the model's
            first among those compared; ``teacher_topk``, how much of the teacher's probability
            its k tokens hold: raise k where it is far below 1.
        """
        _, known = self.teacher.topk(batch)
        teacher = outcomes(known.to(logps.dtype))
        model = outcomes(logps[:, 1:])
        kl = (teacher.exp() * (teacher - model)).sum(1)
        nll = -logps[:, 0]
        weight = batch.target_weights.to(logps.dtype)
        totals = {
            "kl": self.alpha * (weight * kl).sum(),
            "nll": (1 - self.alpha) * (weight * nll).sum(),
        }
        means = {
            "kl": kl,
            "nll": nll,
            "agreement": (logps.max(1).values == logps[:, 1]).to(logps.dtype),
            "teacher_topk": known.exp().sum(1),
        }
        metrics = {name: (v.detach().sum(), float(len(logps))) for name, v in means.items()}
        return anima_core.LossOutput(totals, metrics)


def outcomes(logps: torch.Tensor) -> torch.Tensor:
    """Log-probs of k tokens as a distribution over k + 1 outcomes, the last: any other token.

    Args:
        logps: ``[S, k]``.

    Returns:
        ``[S, k + 1]``; the probabilities of each row add up to 1.
    """
    rest = -torch.expm1(torch.logsumexp(logps, dim=1, keepdim=True))
    return torch.log_softmax(torch.cat([logps, rest.clamp_min(FLOOR).log()], dim=1), dim=1)
