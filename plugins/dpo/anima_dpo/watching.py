"""What the metrics of a run warn of, with the likely cause. Imports no torch.

Each check takes the records of the steps so far and asks a statistical test, so that a few steps,
or the noise of small batches, give no alarm:

- **Accuracy at chance.** Of the last pairs after the warm-up, no more than half are told apart (a
  binomial test at 5%), nor does their margin show that anything is learnt: with a reference the
  model has hardly moved from it, or the margin is not surely above 0; without one it does not
  surely rise.
- **Both answers fall, for nothing.** Both get less likely and go on falling. That alone is usual in
  healthy runs of DPO (by 9 to 105 nats an answer in published ones), so that there must be a reason
  to worry: the margin does not grow meanwhile; or, with a reference, the chosen answers have lost
  almost as much as the rejected ones, or so much that their perplexity has doubled.
- **The margin explodes.** It stands above ln 999: taken as the Bradley-Terry model that it is, the
  model is surer than 999 to 1, where people who judge the same pairs agree three times of four
  (Ouyang et al. 2022, arXiv:2203.02155, §3.4). Asked only of losses that put it into a sigmoid.

Where rewards are sums over tokens without a reference, the answers' lengths alone put accuracy on
either side of a half and the margin anywhere: accuracy is not judged then, and a margin explodes
when it has grown by more than ln 999 since the first steps that are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from anima_dpo.significance import (
    above_chance,
    pairs_needed,
    surely_above,
    surely_below,
    surely_falls,
)

History = Sequence[Mapping[str, float]]

CHANCE = 0.05
"""Level of the test that an accuracy is above chance, and of those that a margin shows more."""
REASON = 0.01
"""Level of the tests that seek a reason to worry, once both answers surely fall."""
PAIRS = 2 * pairs_needed(better=0.6, level=CHANCE, power=0.999)
"""So many pairs are looked at before an accuracy is called chance: twice as many as tell 0.6 from
it 999 times in 1,000, since runs that learn slowly are asked after every step.
"""
STEPS = 50
"""And so many optimizer steps after the warm-up: however large they are, a few teach nothing."""
TREND = 100
"""Steps that a fall is looked for in."""
RECENT = 20
"""Steps whose margin is looked at."""
LEVEL = 1e-4
"""Level of the other tests: one is made after each step, so a run makes thousands."""
STILL = 1e-3
"""A `kl` below which the model has hardly moved: log-probs of tokens differ by some 4%."""
SURE = math.log(999)
"""A margin at which the Bradley-Terry model says 999 to 1."""
ALIKE = 0.9
"""Chosen answers that lose more than this share of what rejected ones lose fall with them. Of
published runs of DPO that went well it was 0.28 to 0.67 (zephyr-7b-beta: 4.52 / 8.32 = 0.54).
"""
GAIN = 1 / 4
"""A margin that grows by less than this share of what chosen answers lose pays nothing for it. At
the shares above it grows by 0.49 times as much, or more.
"""


@dataclass(frozen=True)
class Watched:
    """How the metrics of a loss are to be read.

    Attributes:
        nat: reward of one nat of an answer's log-ratio to the reference, such as DPO's beta; 0
            where a reward is something else that is below 0 for an answer that got less likely;
            None where a reward does not look at a reference.
        logit: the metric that is the logit of the loss's Bradley-Terry model; None where the loss
            has no such model, so that no number means that it is too sure.
        gamma: what the loss takes off the logit before it judges it.
        sums: whether a reward is a sum over tokens that no reference is taken from, so that it
            grows with an answer's length.
        lowers: whether the loss lowers both answers on purpose.
        answers: what the answers of both kinds are called.
        against_fall: what helps when both answers get less likely.
        against_margin: what helps when the margin is too large.
    """

    nat: float | None = None
    logit: str | None = "margin"
    gamma: float = 0.0
    sums: bool = False
    lowers: bool = False
    answers: str = "both answers of the pairs"
    against_fall: str = "lower --learning-rate"
    against_margin: str = "lower --learning-rate, or train for fewer steps"


def pair_warnings(history: History, watched: Watched) -> list[str]:
    """What is most likely wrong with a run that learns from pairs.

    Args:
        history: records of ``metrics.jsonl``, those of evaluations among them, in order.
        watched: how they are to be read.

    Returns:
        A sentence or two each.
    """
    after = _after_warm_up(history)
    chance = [] if watched.sums else _at_chance(after, watched)
    falling = [] if watched.lowers else _falling(after, watched)
    judge = _growing if watched.sums else _exploding
    exploding = judge(after, watched, watched.logit) if watched.logit else []
    return [*chance, *falling, *exploding]


def fall_warnings(history: History, watched: Watched) -> list[str]:
    """What is most likely wrong with a run that learns from answers without pairs.

    Its margin is a difference of means of different answers, and the logit of no model, and its
    accuracy grows by itself where most answers are of one kind: a fall alone is looked for.

    Args:
        history: records of ``metrics.jsonl``, those of evaluations among them, in order.
        watched: how they are to be read.

    Returns:
        A sentence or two each.
    """
    return list(_falling(_after_warm_up(history), watched))


def _after_warm_up(history: History) -> History:
    """The records of steps since the learning rate was at its highest."""
    steps = [record for record in history if "loss" in record]
    rates = [record.get("learning_rate", 0.0) for record in steps]
    return steps[rates.index(max(rates)) :] if rates else []


def _at_chance(steps: History, watched: Watched) -> Iterator[str]:
    judged = [r for r in steps if "accuracy" in r and "examples" in r]
    pairs = wins = 0.0
    last: list[Mapping[str, float]] = []
    while judged and (pairs < PAIRS or len(last) < STEPS):
        last.append(judged.pop())
        pairs += last[-1]["examples"]
        wins += last[-1]["examples"] * last[-1]["accuracy"]
    if pairs < PAIRS or len(last) < STEPS or above_chance(wins, int(pairs), CHANCE):
        return
    moved = [r["kl"] for r in last if "kl" in r]
    still = bool(moved) and fmean(moved) < STILL
    margins = [r["margin"] for r in reversed(last) if "margin" in r]
    if not still and _learns(margins, watched):
        return
    if still:
        rate = last[0].get("learning_rate", 0.0)
        cause = (
            f"The model has hardly moved from its reference (kl {fmean(moved):.1e} nats a token): "
            f"most likely the learning rate ({rate:.1e}) is too small; raise --learning-rate. "
            "Pairs whose answers are almost the same move nothing either."
        )
    else:
        cause = (
            "Most likely the labels are noise (the same kind of answer is chosen here and rejected "
            "there), the two answers of a pair are too alike, or the learning rate is wrong; look "
            "at the pairs with `anima data`."
        )
    yield (f"accuracy is at chance: {wins / pairs:.2f} over the last {pairs:.0f} pairs. {cause}")


def _learns(margins: Sequence[float], watched: Watched) -> bool:
    """Whether margins, in order, show that a model learns which answers are the better ones.

    It is one that has moved: the margins of one that stands still are rounding, which comes again
    with each epoch and passes for a small success.
    """
    if len(margins) < STEPS:
        return False
    if watched.nat is None:  # it starts wherever the model happens to be
        return _rises(margins)
    return surely_above(margins, 0.0, CHANCE)


def _rises(values: Sequence[float]) -> bool:
    return surely_falls([-value for value in values], CHANCE)


def _falling(steps: History, watched: Watched) -> Iterator[str]:
    what = "rewards" if watched.nat is not None else "logps"
    names = (f"{what}_chosen", f"{what}_rejected")
    wanted = {*names, "rewards_chosen", "margin"}
    last = [r for r in steps if wanted <= r.keys()][-TREND:]
    if len(last) < STEPS:
        return
    for name in names:
        values = [r[name] for r in last]
        if watched.nat is None:  # the first steps that are looked at stand for the reference
            looked_at, floor = values[-RECENT:], fmean(values[:RECENT]) - math.log(2)
        else:
            looked_at, floor = values, -watched.nat * math.log(2)
        if not (surely_below(looked_at, floor, LEVEL) and surely_falls(values, LEVEL)):
            return
    if not (reason := _reason(last, watched)):
        return
    chosen, rejected = (fmean(r[name] for r in last[-RECENT:]) for name in names)
    yield (
        f"{watched.answers} become less likely ({what} {chosen:.2f} and {rejected:.2f}, "
        f"and falling). That is usual while the margin grows, but here {reason}: what they lose "
        "goes to answers that the data has not (likelihood displacement, Razin et al. 2024, "
        f"arXiv:2410.08847). If sample answers get worse, {watched.against_fall}."
    )


def _reason(last: History, watched: Watched) -> str:
    """Why a fall of both answers is more than a healthy run's; nothing where it is not."""
    margins = [r["margin"] for r in last]
    paid = [r["margin"] + GAIN * r["rewards_chosen"] for r in last]
    if not _rises(margins) and surely_falls(paid, REASON):
        return "the margin does not grow"
    if watched.nat is None:
        return ""
    recent = last[-RECENT:]
    drift = [r["log_ratio_chosen"] for r in recent if "log_ratio_chosen" in r]
    if len(drift) == RECENT and surely_below(drift, -math.log(2), LEVEL):
        times = math.exp(-fmean(drift))
        return f"the perplexity of the chosen answers is {times:.1f} times the reference's"
    apart = [r["rewards_chosen"] - ALIKE * r["rewards_rejected"] for r in recent]
    if surely_below(apart, 0.0, REASON):
        lost = (sum(r[f"rewards_{kind}"] for r in recent) for kind in ("chosen", "rejected"))
        share = next(lost) / next(lost)
        return f"the chosen ones lose {share:.2f} times as much as the rejected ones"
    return ""


def _exploding(steps: History, watched: Watched, name: str) -> Iterator[str]:
    last = [r[name] for r in steps if name in r][-RECENT:]
    bound = SURE + watched.gamma
    if len(last) < RECENT or not surely_above(last, bound, LEVEL):
        return
    yield (
        f"the {name.replace('_', ' ')} explodes: {fmean(last):.1f} over the last {RECENT} steps, "
        f"where {bound:.1f} already means 999 to 1. {_by_heart(watched)}"
    )


def _growing(steps: History, watched: Watched, name: str) -> Iterator[str]:
    margins = [r[name] for r in steps if name in r]
    if len(margins) < 2 * RECENT:
        return
    first, last = margins[:RECENT], margins[-RECENT:]
    grown = [late - early for early, late in zip(first, last, strict=True)]
    if not surely_above(grown, SURE, LEVEL):
        return
    yield (
        f"the margin explodes: {fmean(last):.1f} over the last {RECENT} steps, {fmean(grown):.1f} "
        f"more than at first, where {SURE:.1f} already makes the odds 999 times as large. "
        f"{_by_heart(watched)}"
    )


def _by_heart(watched: Watched) -> str:
    return (
        "Most likely the pairs are learnt by heart (too many epochs), or the learning rate is too "
        f"high: {watched.against_margin}."
    )
