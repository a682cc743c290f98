"""The loss of ``--dpo``: what its options select, over the log-probs of a batch of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch

from anima_core import AnimaError, Batch, Loss, LossOutput, Problem
from anima_dpo.checks import biased, unsorted_rest
from anima_dpo.facts import FACTS, LossFacts
from anima_dpo.losses import BY_PAIR, BY_STEP
from anima_dpo.losses.likelihood import rpo, sft, sft_denominator
from anima_dpo.metrics import Means, drift, logp_means, means, moved, reward_means, rounding
from anima_dpo.options import DpoOptions
from anima_dpo.pairs import Knobs, Pairs, pairs_of
from anima_dpo.rest import Steps
from anima_dpo.running import RunningMean
from anima_dpo.tokens import lengths, likelihood_weights
from anima_dpo.watching import Watched, pair_warnings

if TYPE_CHECKING:
    from anima_core import DataSummary


def make_loss(options: DpoOptions, steps: Steps | None = None) -> DpoLoss:
    """The loss that the options describe: one with state where they need it.

    Args:
        options: how it is set.
        steps: how the run goes through its data.
    """
    keeps_mean = "bco_pair" in options.loss and options.bco_shift
    return ShiftedDpoLoss(options, steps) if keeps_mean else DpoLoss(options, steps)


class DpoLoss(Loss):
    """One or several preference losses, added up by their weights.

    What they look at is the implicit reward of an answer (Rafailov et al. 2023, arXiv:2305.18290,
    eq. 5), where an answer's log-prob is the sum over its tokens::

        r(y) = beta * s(y)          s(y) = log pi(y|x) - log pi_ref(y|x)

    What a loss makes of the rewards stands with its function in `anima_dpo.losses`; what options
    make of s, in `anima_dpo.divergences` and `anima_dpo.tokens`.

    Args:
        options: which losses, and how they are set; plain DPO when None. With ``bco_pair`` the
            shift of its rewards is 0: see `make_loss`.
        steps: how the run goes through its data, to warn of; nothing is said of it when None.
    """

    data = "preference"
    needs = "logps"
    scope: Literal["example", "step"] = "example"
    uses_reference: bool = True
    reference_model: str | None = None
    headline: tuple[str, ...] = ()
    collision: bool = False

    def __init__(self, options: DpoOptions | None = None, steps: Steps | None = None) -> None:
        self.options = options or DpoOptions()
        self._steps = steps
        self.collision = self.options.wpo
        facts = [FACTS[name] for name in self.options.loss]
        self.uses_reference = any(fact.compares for fact in facts)
        if self.uses_reference:
            self.headline = ("accuracy", "margin", "kl")
        if self.uses_reference:
            self.reference_model = self.options.reference
        if any(fact.sorts for fact in facts):
            self.scope = "step"

    def denominators(self, batch: Batch) -> dict[str, float]:
        """What is a mean over pairs is divided by their weights, ``sft`` by the chosen tokens'.

        Raises:
            DataError: an example has no supervised token in one of its answers.
        """
        lengths(batch, "dpo")
        below = {}
        if self.uses_reference or self.options.rpo_alpha is not None:
            below["dpo"] = float(batch.weights.double().sum())
        if "sft" in self.options.loss:
            below["sft"] = sft_denominator(batch)
        return below

    def __call__(
        self,
        batch: Batch,
        logps: torch.Tensor,
        reference: torch.Tensor | None = None,
        collision: torch.Tensor | None = None,
    ) -> LossOutput:
        """The weighted sums of the losses, and what happened to the pairs' rewards.

        Args:
            batch: preference pairs: each example has chosen and rejected tokens as targets.
            logps: log-probs of ``batch.targets``, ``[S]``, differentiable.
            reference: the same under the model as training started, ``[S]``.
            collision: log collision probabilities at the targets' places, ``[S]``, for WPO.

        Returns:
            The totals ``dpo`` (means over pairs) and ``sft`` (a mean over tokens), and metrics
            that are plain means over pairs: rewards in units of beta times nats (nats a token
            where no loss compares anything else, as ipo alone), log-probs in nats an answer,
            accuracy as the share of pairs with a margin above 0, where a tie counts half; and
            ``kl`` and ``log_ratio_chosen``, means over tokens (see `anima_dpo.metrics`). Of
            several losses each has its own, unweighted, as ``loss_…``.

        Raises:
            AnimaError: `reference` is missing or of another shape, or `collision` is missing.
            DataError: an example has no supervised token in one of its answers.
        """
        counts = lengths(batch, "dpo")
        terms: dict[str, torch.Tensor] = {}
        metrics: Means = {}
        weights, weighing = self._pair_weights(batch, logps, collision, counts)
        if self.uses_reference:
            given = _checked(logps, reference)
            pairs = pairs_of(batch, logps, given, counts, self.options)
            terms |= self._compare(pairs, weights)
            metrics |= reward_means(*self._rewarded(pairs), self._rounding(counts))
            metrics |= moved(logps, given) | drift(batch, logps, given)
            metrics |= self._besides(pairs)
        if "sft" in self.options.loss:
            terms["sft"] = sft(batch, logps, weights)
        if self.options.rpo_alpha is not None:
            terms["rpo"] = (weights * rpo(batch, logps, counts[0])).sum()
        metrics |= logp_means(batch, logps) | weighing
        if len(terms) > 1:
            metrics |= self._parts(batch, terms)
        return LossOutput(self._totals(terms), metrics)

    def data_problems(self, data: DataSummary) -> Sequence[Problem]:
        """Pairs that differ mostly in length, where nothing is done about it; a small rest."""
        return [*biased(self.options, data), *unsorted_rest(self.options, data, self._steps)]

    def warnings(self, history: Sequence[Mapping[str, float]]) -> Sequence[str]:
        """What the metrics warn of; see `anima_dpo.watching`."""
        if not self.uses_reference:
            return []
        options, facts = self.options, self._comparing()
        of_answers = not options.length_normalised and not self._of_tokens()
        in_nats = options.f_divergence == "reverse_kl" and of_answers
        likely = options.rpo_alpha is not None or "sft" in options.loss
        rpo_alpha = "" if likely else "add --dpo.rpo-alpha 1, "
        watched = Watched(
            nat=options.beta if in_nats else 0.0,
            logit="margin" if any(fact.logistic for fact in facts) else None,
            lowers=any(fact.lowers for fact in facts),
            against_fall=f"{rpo_alpha}raise --dpo.beta, or lower --learning-rate",
            against_margin="lower --learning-rate, raise --dpo.beta, or train for fewer steps",
        )
        return pair_warnings(history, watched)

    def _comparing(self) -> list[LossFacts]:
        """What there is to know of the losses that compare two answers."""
        return [fact for name in self.options.loss if (fact := FACTS[name]).compares]

    def _of_tokens(self) -> bool:
        """Whether every loss that compares answers does so by means over their tokens."""
        return all(fact.per_token for fact in self._comparing())

    def _rewarded(self, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
        """The rewards that are reported, ``[E]`` each: of what the losses look at."""
        beta = self.options.beta
        if self._of_tokens():
            return beta * pairs.chosen_mean, beta * pairs.rejected_mean
        return beta * pairs.chosen, beta * pairs.rejected

    def _rounding(self, counts: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """The margins of those rewards that rounding makes, ``[E]``."""
        per_token = self.options.length_normalised or self._of_tokens()
        return rounding(self.options.beta, counts, per_token=per_token)

    def _knobs(self) -> Knobs:
        options = self.options
        return Knobs(options.beta, options.label_smoothing, options.discopop_tau)

    def _besides(self, pairs: Pairs) -> Means:  # noqa: ARG002
        """What else is reported of the pairs: nothing."""
        return {}

    def _pair_weights(
        self,
        batch: Batch,
        logps: torch.Tensor,
        collision: torch.Tensor | None,
        counts: tuple[torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, Means]:
        """What each pair counts in every term, ``[E]``, and what WPO has to do with it."""
        weights = batch.weights.to(logps.dtype)
        if not self.options.wpo:
            return weights, {}
        if collision is None:
            raise AnimaError("WPO needs the model's collision probabilities", where="dpo")
        likely = likelihood_weights(batch, logps, collision, *counts)
        return weights * likely, means({"wpo_weight": likely})

    def _compare(self, pairs: Pairs, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """The weighted sum over pairs of each loss that compares answers."""
        knobs = self._knobs()
        sums = {}
        for name in self.options.loss:
            if name in BY_PAIR:
                sums[str(name)] = (weights * BY_PAIR[name](pairs, knobs)).sum()
            elif name in BY_STEP:
                sums[str(name)] = BY_STEP[name](pairs, knobs)
        return sums

    def _totals(self, terms: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The terms times their weights, those with one denominator added up."""
        factors: dict[str, float] = {str(name): w for name, w in self.options.terms.items()}
        if self.options.rpo_alpha is not None:
            factors["rpo"] = self.options.rpo_alpha
        totals: dict[str, torch.Tensor] = {}
        for name, term in terms.items():
            total, part = _total_of(name), factors[name] * term
            totals[total] = totals[total] + part if total in totals else part
        return totals

    def _parts(self, batch: Batch, terms: dict[str, torch.Tensor]) -> Means:
        below = self.denominators(batch)
        return {f"loss_{n}": (term.detach(), below[_total_of(n)]) for n, term in terms.items()}


class ShiftedDpoLoss(DpoLoss):
    """`DpoLoss` with the reward shift of ``bco_pair`` (Jung et al. 2024, arXiv:2404.04656).

    The shift is the mean reward of all answers of the steps before this one, so that it is the
    same for every micro-batch of a step; in the first step, where every reward is 0, it is 0. Of
    each step the metric ``rewards_mean`` holds what it adds to that mean: the mean reward of both
    answers, by the pairs' weights.
    """

    def __init__(self, options: DpoOptions | None = None, steps: Steps | None = None) -> None:
        super().__init__(options, steps)
        self._rewards = RunningMean()

    def step_done(self, metrics: Mapping[str, tuple[float, float]]) -> None:
        """Add a step's rewards."""
        self._rewards.add(*metrics["rewards_mean"])

    def state_dict(self) -> dict[str, float]:
        """The mean of the rewards so far."""
        return self._rewards.state_dict()

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a `state_dict`."""
        self._rewards.load_state_dict(state)

    def _knobs(self) -> Knobs:
        options = self.options
        shift = self._rewards.value
        return Knobs(options.beta, options.label_smoothing, options.discopop_tau, shift)

    def _besides(self, pairs: Pairs) -> Means:
        weights = pairs.weights.double()
        both = (pairs.chosen.detach() + pairs.rejected.detach()).double() / 2
        return {"rewards_mean": (self.options.beta * (weights * both).sum(), weights.sum())}


def _total_of(term: str) -> str:
    """The total, and so the denominator, that a term belongs to."""
    return "sft" if term == "sft" else "dpo"


def _checked(logps: torch.Tensor, reference: torch.Tensor | None) -> torch.Tensor:
    if reference is None:
        raise AnimaError("DPO needs the reference model's log-probs", where="dpo")
    if reference.shape != logps.shape:
        raise AnimaError(
            f"{reference.numel()} reference log-probs for {logps.numel()} targets", where="dpo"
        )
    return reference
