"""The loss of ``--orpo``."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from anima_dpo.metrics import Means, means
from anima_dpo.orpo.strategy import OrpoOptions
from anima_dpo.pairs import Pairs
from anima_dpo.unreferenced import UnreferencedLoss
from anima_dpo.watching import Watched


class OrpoLoss(UnreferencedLoss):
    """Odds Ratio Preference Optimisation (Hong et al. 2024, arXiv:2403.07691, eq. 6 and 7).

    With an answer's probability per token, ``log p(y) = log pi(y|x) / |y|`` (eq. 2)::

        NLL of the chosen answers, a mean over tokens
          + lambda * mean over pairs of -log sigmoid(log odds(w) - log odds(l))

        odds(y) = p(y) / (1 - p(y))                                               (eq. 3)

    Args:
        options: how it is set; the defaults when None.
    """

    def __init__(self, options: OrpoOptions | None = None) -> None:
        self.options = options or OrpoOptions()
        watched = Watched(
            logit="log_odds_ratio",
            against_fall="lower --orpo.beta, so that the likelihood of the chosen answers counts "
            "for more, or lower --learning-rate",
        )
        super().__init__("orpo", self.options.beta, 1.0, watched)

    def compare(self, pairs: Pairs) -> torch.Tensor:
        """``-log sigmoid`` of the log odds ratio, ``[E]``."""
        return -logsigmoid(log_odds_ratio(pairs))

    def rewards(self, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
        """``lambda * log p(y)``, ``[E]`` each."""
        return self.options.beta * pairs.chosen_mean, self.options.beta * pairs.rejected_mean

    def watched(self, pairs: Pairs) -> Means:
        """The log odds ratio, in nats."""
        return means({"log_odds_ratio": log_odds_ratio(pairs).detach()})


def log_odds_ratio(pairs: Pairs) -> torch.Tensor:
    """``log odds(w) - log odds(l)``, ``[E]``."""
    return _log_odds(pairs.chosen_mean) - _log_odds(pairs.rejected_mean)


def _log_odds(logp: torch.Tensor) -> torch.Tensor:
    """``log(p / (1 - p))`` of log p; where p is 1 to rounding, that of the number below it."""
    below = logp.clamp(max=-torch.finfo(logp.dtype).eps)
    return logp - torch.log(-torch.expm1(below))
