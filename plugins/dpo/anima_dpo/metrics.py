"""What a person watches: (sum, count) pairs that are means over the pairs of a step."""

from __future__ import annotations

import torch

from anima_core import Batch, Role

Means = dict[str, tuple[float | torch.Tensor, float | torch.Tensor]]

TIE = 1e-5
"""A margin, in units of reward, up to which two answers count as equally good, where a reward is
no difference to a reference."""

NOISE = 1e-5
"""By so many nats two computations of a token's log-prob may differ.

Where the model has not moved, log-probs that were computed in float32, in another micro-batch than
the reference's, differ by rounding, and every margin with them: accuracy would be a coin's. In 16
bits they differ by more, and it is; held-out data alone is cut alike both times, and differs not,
unless the loss sees a whole step.
"""


def rounding(
    beta: float, counts: tuple[torch.Tensor, torch.Tensor], *, per_token: bool
) -> torch.Tensor:
    """Margins up to which two answers count as equally good: those that rounding makes.

    Each token's log-prob is rounded by itself, so that with the numbers of tokens |w| and |l|, a
    margin may be off by::

        beta * noise * sqrt(|w| + |l|)              of sums over tokens
        beta * noise * sqrt(1 / |w| + 1 / |l|)      of means

    Args:
        beta: the reward of a nat.
        counts: the answers' lengths, ``[E]`` each.
        per_token: whether rewards are means.

    Returns:
        ``[E]``.
    """
    chosen, rejected = (count.double() for count in counts)
    spread = 1 / chosen + 1 / rejected if per_token else chosen + rejected
    return beta * NOISE * spread.sqrt()


def reward_means(
    chosen: torch.Tensor, rejected: torch.Tensor, tie: float | torch.Tensor = TIE
) -> Means:
    """The rewards of both answers, their margin, and how often it is above 0.

    Args:
        chosen: the chosen answers' rewards, ``[E]``; no gradient is kept.
        rejected: the rejected answers'.
        tie: the largest margin of answers that are equally good, one or ``[E]``.

    Returns:
        Means over pairs; in the accuracy a tie counts half.
    """
    chosen, rejected = chosen.detach(), rejected.detach()
    margin = chosen - rejected
    sides = torch.where(margin.abs() <= tie, torch.zeros_like(margin), margin.sign())
    accuracy = (sides + 1) / 2
    values = {"rewards_chosen": chosen, "rewards_rejected": rejected, "margin": margin}
    return means(values | {"accuracy": accuracy})


def logp_means(batch: Batch, logps: torch.Tensor) -> Means:
    """The log-probs of both answers, in nats an answer, as means over pairs."""
    spoken = logps.detach()
    roles = {"logps_chosen": Role.CHOSEN, "logps_rejected": Role.REJECTED}
    return means({name: batch.per_example(spoken, role) for name, role in roles.items()})


def moved(logps: torch.Tensor, reference: torch.Tensor) -> Means:
    """How far the model has moved from its reference: an estimate of their KL divergence.

    It is k2 of Schulman 2020, "Approximating KL Divergence" (joschu.net/blog/kl-approx.html),
    a mean over the tokens of both answers, in nats a token::

        kl = mean of 1/2 * d^2        d = log pi(y_i|x, y_<i) - log pi_ref(y_i|x, y_<i)

    The tokens are those of the data's answers, which neither model need have written, so it is no
    unbiased estimate of either divergence: near the reference it agrees to second order with both
    (whichever model wrote the tokens), further away it says how far, and not in which direction.
    His k3 and the mean of d are unbiased for tokens that the model itself has sampled; over
    rejected answers, which it is driven away from, k3's exp(-d) drowns everything else.

    Args:
        logps: log-probs of the targets, ``[S]``; no gradient is kept.
        reference: the same under the reference.
    """
    change = logps.detach() - reference.to(logps.dtype)
    return {"kl": ((change**2).sum() / 2, float(len(change)))}


def drift(batch: Batch, logps: torch.Tensor, reference: torch.Tensor) -> Means:
    """How much likelier the chosen answers' tokens are than under the reference.

    The mean over those tokens of ``log pi - log pi_ref``, in nats a token: less its value is the
    logarithm of by how much their perplexity has grown, so that at -ln 2 it has doubled.

    Args:
        batch: preference pairs.
        logps: log-probs of the targets, ``[S]``; no gradient is kept.
        reference: the same under the reference.
    """
    chosen = batch.target_role == int(Role.CHOSEN)
    change = (logps.detach() - reference.to(logps.dtype))[chosen]
    return {"log_ratio_chosen": (change.sum(), float(len(change)))}


def means(values: dict[str, torch.Tensor]) -> Means:
    """The mean of each tensor's entries, as a metric."""
    return {name: (value.sum(), float(len(value))) for name, value in values.items()}
