"""The head of a reward model: a number for a hidden state."""

from __future__ import annotations

import torch


class RewardHead(torch.nn.Module):
    """``r = w . h``, without a bias: pairs say nothing about what all rewards have in common.

    w is drawn from a normal distribution of variance 1 / (H + 1), as by Stiennon et al. 2020,
    "Learning to summarize from human feedback", arXiv:2009.01325, appendix B.1. The layer has
    the name and the shape of that of transformers' models for sequence classification, so that
    its ``score.weight`` is read by them.

    Args:
        hidden_size: H.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.score = torch.nn.Linear(hidden_size, 1, bias=False)
        torch.nn.init.normal_(self.score.weight, std=(hidden_size + 1) ** -0.5)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """The rewards ``[M]`` of hidden states ``[M, H]``."""
        rewards: torch.Tensor = self.score(hidden).squeeze(-1)
        return rewards
