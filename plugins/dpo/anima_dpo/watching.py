"""What the metrics of a run warn of, with the likely cause. Imports no torch.

Each check takes the records of the steps so far and asks a statistical test, so that a few steps,
or the noise of small batches, give no alarm:

- **Accuracy at chance.** Of the last pairs after the warm-up, no more than half are told apart (a
  binomial test at 5%), of so many that an accuracy of 0.6 would have shown 999 times in 1,000.
- **Both answers fall.** The chosen answers are less than half as likely as under the reference (or,
  where there is none, as some steps before), so are the rejected ones, and both go on falling.
- **The margin explodes.** It stands above ln 999: taken as the Bradley-Terry model that it is, the
  model is surer than 999 to 1, where people who judge the same pairs agree three times of four
  (Ouyang et al. 2022, arXiv:2203.02155, §3.4).

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
"""Level of the test that an accuracy is above chance."""
PAIRS = pairs_needed(better=0.6, level=CHANCE, power=0.999)
"""So many pairs are looked at before an accuracy is called chance."""
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


@dataclass(frozen=True)
class Watched:
    """How the metrics of a loss are to be read.

    Attributes:
        nat: reward of one nat of an answer's log-ratio to the reference, such as DPO's beta; 0
            where a reward is something else that is below 0 for an answer that got less likely;
            None where a reward does not look at a reference.
        gamma: what the loss takes off a margin before it judges it.
        sums: whether a reward is a sum over tokens that no reference is taken from, so that it
            grows with an answer's length.
        against_fall: what helps when both answers get less likely.
        against_margin: what helps when the margin is too large.
    """

    nat: float | None = None
    gamma: float = 0.0
    sums: bool = False
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
    steps = [record for record in history if "loss" in record]
    after = steps[_warm_up(steps) :]
    judge = _growing if watched.sums else _exploding
    chance = [] if watched.sums else _at_chance(after)
    return [*chance, *_falling(after, watched), *judge(after, watched)]


def _warm_up(steps: History) -> int:
    """How many steps came before the learning rate was at its highest."""
    rates = [record.get("learning_rate", 0.0) for record in steps]
    return rates.index(max(rates)) if rates else 0


def _at_chance(steps: History) -> Iterator[str]:
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
    if moved and fmean(moved) < STILL:
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


def _falling(steps: History, watched: Watched) -> Iterator[str]:
    what = "rewards" if watched.nat is not None else "logps"
    names = (f"{what}_chosen", f"{what}_rejected")
    last = [r for r in steps if all(name in r for name in names)][-TREND:]
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
    chosen, rejected = (fmean(r[name] for r in last[-RECENT:]) for name in names)
    yield (
        f"both answers of the pairs become less likely ({what} {chosen:.2f} and {rejected:.2f}, "
        "and falling): what they lose goes to answers that are in no pair (likelihood "
        "displacement, Razin et al. 2024, arXiv:2410.08847). If sample answers get worse, "
        f"{watched.against_fall}."
    )


def _exploding(steps: History, watched: Watched) -> Iterator[str]:
    last = [r["margin"] for r in steps if "margin" in r][-RECENT:]
    bound = SURE + watched.gamma
    if len(last) < RECENT or not surely_above(last, bound, LEVEL):
        return
    yield (
        f"the margin explodes: {fmean(last):.1f} over the last {RECENT} steps, where "
        f"{bound:.1f} already means 999 to 1. {_by_heart(watched)}"
    )


def _growing(steps: History, watched: Watched) -> Iterator[str]:
    margins = [r["margin"] for r in steps if "margin" in r]
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
