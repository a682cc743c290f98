"""What the losses look at: the two answers of each pair, as numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from anima_core import Batch, Role
from anima_dpo.divergences import score
from anima_dpo.options import DpoOptions
from anima_dpo.tokens import desensitised


@dataclass(frozen=True)
class Pairs:
    """E pairs; every tensor is ``[E]``, in nats where it is not a count.

    A score is the log-ratio ``log pi(y|x) - log pi_ref(y|x)`` of an answer, or what an
    f-divergence makes of it; the implicit reward is beta times it.

    Attributes:
        chosen: score of the chosen answer, divided by its length where that was asked.
        rejected: that of the rejected answer.
        chosen_mean: score of the chosen answer divided by its number of tokens.
        rejected_mean: that of the rejected answer.
        policy: ``log pi(w|x) - log pi(l|x)``, divided by the lengths where that was asked.
        reference: the same under the reference.
        weights: how often each pair counts.
    """

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_mean: torch.Tensor
    rejected_mean: torch.Tensor
    policy: torch.Tensor
    reference: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True)
class Knobs:
    """The numbers that losses are set by.

    Attributes:
        beta: how strongly the model is held to its reference, > 0.
        smoothing: probability that a pair is labelled the wrong way round, in [0, 0.5).
        tau: discopop's temperature, > 0.
        shift: bco_pair's reward shift, in units of reward.
    """

    beta: float = 0.1
    smoothing: float = 0.0
    tau: float = 0.05
    shift: float = 0.0


def pairs_of(
    batch: Batch,
    logps: torch.Tensor,
    reference: torch.Tensor,
    counts: tuple[torch.Tensor, torch.Tensor],
    options: DpoOptions,
) -> Pairs:
    """The pairs of a batch.

    Args:
        batch: preference pairs.
        logps: log-probs of its targets, ``[S]``, differentiable.
        reference: the same under the reference, ``[S]``.
        counts: the lengths of chosen and rejected answers, ``[E]`` each.
        options: what is made of a log-ratio.
    """
    reference = reference.to(logps.dtype)
    # The difference is taken token by token, before the sums: an answer's log-prob is in the
    # hundreds while its change is near 0, and float32 would lose the change in the sums.
    gain = logps - reference
    if options.ld_alpha is not None:
        gain, logps, reference = (
            desensitised(values, batch, *counts, options.ld_alpha)
            for values in (gain, logps, reference)
        )
    roles = (Role.CHOSEN, Role.REJECTED)
    means = tuple(count.to(logps.dtype) for count in counts)
    divided = options.length_normalised

    def answers(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chosen, rejected = (batch.per_example(values, role) for role in roles)
        return chosen, rejected

    def margin(values: torch.Tensor) -> torch.Tensor:
        chosen, rejected = answers(values)
        return chosen / means[0] - rejected / means[1] if divided else chosen - rejected

    chosen, rejected = (
        score(ratio, options.f_divergence, options.f_alpha) for ratio in answers(gain)
    )
    chosen_mean, rejected_mean = chosen / means[0], rejected / means[1]
    return Pairs(
        chosen=chosen_mean if divided else chosen,
        rejected=rejected_mean if divided else rejected,
        chosen_mean=chosen_mean,
        rejected_mean=rejected_mean,
        policy=margin(logps),
        reference=margin(reference),
        weights=batch.weights,
    )
