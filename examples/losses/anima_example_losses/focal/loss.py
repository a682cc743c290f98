"""The focal loss, over the log-probs of the answers' tokens."""

from __future__ import annotations

import torch

import anima_core


class FocalLoss(anima_core.Loss):
    """``(1 - p)^gamma * -log p``, the mean over tokens (Lin et al. 2017, arXiv:1708.02002, eq. 5).

    p is the probability of the right token. Its derivative by l = log p is

        - (1 - p)^gamma + gamma * p * (1 - p)^(gamma - 1) * l       as it stands,
        - (1 - p)^gamma                                             with the weight detached;

    both are that of supervised fine-tuning, -1, for gamma 0.

    Args:
        gamma: the exponent, >= 0.
        detach: whether the weight is a constant to the derivative.
    """

    data = "completion"
    scope = "example"
    needs = "logps"
    uses_reference = False
    weighs_tokens = True

    def __init__(self, gamma: float, *, detach: bool = False) -> None:
        self.gamma = gamma
        self.detach = detach

    def denominators(self, batch: anima_core.Batch) -> dict[str, float]:
        """The tokens, each counted by its weight: a function of the batch alone."""
        return {"focal": float(batch.target_weights.double().sum())}

    def __call__(
        self,
        batch: anima_core.Batch,
        logps: torch.Tensor,
        reference: torch.Tensor | None = None,  # noqa: ARG002
    ) -> anima_core.LossOutput:
        """The total of a batch, and what it is made of.

        Args:
            batch: E examples with S supervised tokens.
            logps: log-probs of ``batch.targets``, ``[S]``, differentiable.
            reference: not used.

        Returns:
            The total, a sum that the core divides by the whole step's denominator, and metrics:
            ``nll``, the mean of -log p in nats; ``focal_weight``, the mean of (1 - p)^gamma; and
            ``confident``, the share of tokens with p > 1/2.
        """
        # 1 - e^l without losing the digits of a p near 1. At p = 1 a gamma below 1 has an infinite
        # slope, which the clamp keeps out.
        missing = -torch.expm1(logps)
        weight = missing.clamp_min(torch.finfo(logps.dtype).tiny) ** self.gamma
        if self.detach:
            weight = weight.detach()
        example = batch.target_weights.to(logps.dtype)
        total = -(example * weight * logps).sum()
        tokens = float(len(logps))
        metrics = {
            "nll": (-logps.detach().sum(), tokens),
            "focal_weight": (weight.detach().sum(), tokens),
            "confident": ((missing.detach() < 0.5).sum(), tokens),
        }
        return anima_core.LossOutput({"focal": total}, metrics)
