"""Warnings over simulated histories: those that must be warned of, and those that must not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from anima_dpo.cpo.loss import CpoLoss
from anima_dpo.cpo.strategy import CpoOptions
from anima_dpo.facts import NAMES
from anima_dpo.loss import DpoLoss
from anima_dpo.options import DpoOptions
from anima_dpo.orpo.loss import OrpoLoss
from anima_dpo.orpo.strategy import OrpoOptions
from anima_dpo.reward.loss import RewardLoss
from anima_dpo.significance import above_chance, pairs_needed, surely_above, surely_falls
from anima_dpo.simpo.loss import SimpoLoss
from anima_dpo.simpo.strategy import SimpoOptions
from anima_dpo.watching import PAIRS, RECENT, STEPS

Records = list[dict[str, float]]

RUNS = 40
STEP_COUNT = 300
BATCH = 8
BETA = 0.1


def warned(records: Records, every: int = 20, **options: object) -> list[str]:
    """Everything that is told while the records come in, as the core asks for it."""
    loss = DpoLoss(DpoOptions(**options))
    told: list[str] = []
    for count in range(0, len(records) + 1, every):
        told += loss.warnings(records[:count])
    return told


def run(
    draw: random.Random,
    *,
    accuracy: Callable[[float], float],
    chosen: Callable[[float], float],
    rejected: Callable[[float], float],
    spread: float = 0.3,
    kl: float = 0.02,
    answer: float = 250.0,
    steps: int = STEP_COUNT,
    batch: int = BATCH,
) -> Records:
    """Records of a run, each mean over a batch drawn anew; functions are of the share done.

    Chosen answers have `answer` tokens.
    """
    made: Records = []
    for step in range(1, steps + 1):
        done = step / steps
        right = sum(draw.random() < accuracy(done) for _ in range(batch)) / batch
        noise = spread / math.sqrt(batch)
        w, r = draw.gauss(chosen(done), noise), draw.gauss(rejected(done), noise)
        rate = 5e-6 * min(1.0, step / (0.03 * steps)) * (1.03 - done)
        figures = {"rewards_chosen": w, "rewards_rejected": r, "margin": w - r, "kl": kl}
        figures["log_ratio_chosen"] = w / BETA / answer
        made.append(
            {"step": step, "loss": 0.6, "learning_rate": rate, "examples": batch, **figures}
            | {"accuracy": right}
        )
    return made


def healthy(draw: random.Random, **changes: object) -> Records:
    """Accuracy climbs to 0.7, the margin to 0.8; chosen answers rise a little."""
    shape = {
        "accuracy": lambda done: 0.5 + 0.2 * min(1.0, 4 * done),
        "chosen": lambda done: 0.2 * done,
        "rejected": lambda done: -0.6 * done,
    }
    return run(draw, **(shape | changes))


def test_ordinary_runs_are_not_warned_of():
    alarms = sum(bool(warned(healthy(random.Random(seed)))) for seed in range(RUNS))
    assert alarms == 0


def test_a_weak_but_real_preference_is_seldom_called_chance():
    weak = {"accuracy": lambda _done: 0.62, "rejected": lambda _done: 0.0, "steps": 2 * STEP_COUNT}
    weak |= {"chosen": lambda _done: 0.0}
    alarms = [warned(healthy(random.Random(seed), **weak)) for seed in range(RUNS)]
    assert sum(map(bool, alarms)) <= 0.05 * RUNS


def test_a_run_whose_margin_grows_slowly_is_not_called_chance():
    """Accuracy is a half and no more, over thousands of pairs, and each answer's reward noise."""
    slow = {"accuracy": lambda _done: 0.5, "rejected": lambda _done: 0.0, "steps": 2 * STEP_COUNT}
    slow |= {"chosen": lambda done: 0.02 + 0.03 * done, "spread": 0.1}
    assert not any(warned(healthy(random.Random(seed), **slow)) for seed in range(RUNS))


def test_a_fall_of_rejected_answers_alone_is_as_it_should_be():
    shape = {"chosen": lambda done: -0.05 * done, "rejected": lambda done: -4 * done}
    assert not any(warned(healthy(random.Random(seed), **shape)) for seed in range(RUNS))


def test_a_fall_that_has_ended_is_no_fall():
    def settled(_done: float) -> float:
        return -1.0

    shape = {"chosen": settled, "rejected": lambda _done: -2.0}
    alarms = sum(bool(warned(healthy(random.Random(s), **shape))) for s in range(RUNS))
    assert alarms <= 1


NOISE = {
    "accuracy": lambda _done: 0.5,
    "chosen": lambda _done: 0.0,
    "rejected": lambda _done: 0.0,
    "steps": 2 * STEP_COUNT,
}
"""A run that learns nothing."""


def test_accuracy_at_chance_is_found_with_the_learning_rate_as_its_cause():
    shape = NOISE | {"kl": 1e-6, "spread": 1e-3}
    texts = [" ".join(warned(run(random.Random(seed), **shape))) for seed in range(RUNS)]
    found = [text for text in texts if "accuracy is at chance" in text]
    assert len(found) >= 0.95 * RUNS
    assert all("--learning-rate" in text and "hardly moved" in text for text in found)


def test_rounding_is_no_sign_of_learning():
    """The same pairs, with the same errors, in every epoch: their margin is surely above 0, and it
    may rise with the little that the weights change."""
    for offset in (2e-6, 2e-4):  # of float32, and of 16 bits
        records = run(random.Random(0), **NOISE | {"kl": 1e-6, "spread": offset / 20})
        for step, record in enumerate(records):
            record["margin"] += offset * (1 + step / len(records))
        assert any("hardly moved" in text for text in warned(records))


def test_noisy_labels_are_named_where_the_model_has_moved():
    texts = [" ".join(warned(run(random.Random(seed), **NOISE))) for seed in range(RUNS)]
    assert sum("labels are noise" in text for text in texts) >= 0.95 * RUNS


@pytest.mark.parametrize(("batch", "steps"), [(512, STEPS - 1), (4, PAIRS // 4 - 1)])
def test_chance_takes_both_many_pairs_and_many_steps(batch, steps):
    shape = NOISE | {"steps": steps, "batch": batch}
    assert not warned(run(random.Random(0), **shape), every=1)


def test_the_warm_up_is_no_time_to_judge():
    records = run(random.Random(1), **NOISE)
    for record in records:
        record["learning_rate"] = record["step"] * 1e-8
    assert not warned(records)


SHAPES: list[Callable[[float], float]] = [
    lambda done: done,
    lambda done: (1 - math.exp(-3 * done)) / (1 - math.exp(-3)),
    lambda done: math.sin(math.pi / 2 * done),
]
"""How rewards get to where they end."""


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [(-4.52, -8.32), (-4.0, -6.0), (-10.5, -16.0), (-0.9, -1.34)],
    ids=["zephyr-7b-beta", "two thirds", "105 nats", "9 nats"],
)
@pytest.mark.parametrize(("batch", "spread"), [(8, 3.0), (64, 3.0), (8, 0.5)])
def test_a_fall_with_a_growing_margin_is_as_in_healthy_runs(chosen, rejected, batch, spread):
    """Where rewards end is as published; spreads of pairs' rewards are about as large as they."""
    for shape in SHAPES:
        ends = {
            "chosen": lambda done, shape=shape: chosen * shape(done),
            "rejected": lambda done, shape=shape: rejected * shape(done),
        }
        size = {"batch": batch, "spread": spread}
        runs = [healthy(random.Random(seed), **ends, **size) for seed in range(RUNS // 4)]
        told = [text for records in runs for text in warned(records)]
        assert not any("less likely" in text for text in told)


ALIKE = {"chosen": lambda done: -6 * done, "rejected": lambda done: -6 * done}


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (ALIKE, "the margin does not grow"),
        (
            {"chosen": lambda done: -9.7 * done, "rejected": lambda done: -10 * done},
            "lose 0.97 times as much as the rejected ones",
        ),
        (
            {
                "chosen": lambda done: -5 * done,
                "rejected": lambda done: -9 * done,
                "answer": 20.0,
            },
            "perplexity of the chosen answers is",
        ),
    ],
    ids=["no gain", "almost as much", "perplexity"],
)
def test_a_fall_for_a_reason_is_found_and_the_reason_named(shape, reason):
    shape = {"spread": 0.15} | shape
    texts = [" ".join(warned(healthy(random.Random(seed), **shape))) for seed in range(RUNS)]
    found = [text for text in texts if reason in text]
    assert len(found) >= 0.95 * RUNS
    assert all("likelihood displacement" in text and "usual" in text for text in found)


def test_the_likelihood_is_advised_where_it_is_not_in_the_loss_yet():
    records = healthy(random.Random(0), **ALIKE)
    for options, wanted in (
        ({}, True),
        ({"rpo_alpha": 1.0}, False),
        ({"loss": "sigmoid,sft"}, False),
    ):
        told = [text for text in warned(records, **options) if "less likely" in text]
        assert told
        assert all(("--dpo.rpo-alpha" in text) == wanted for text in told)
        assert all("raise --dpo.beta" in text for text in told)


def test_a_loss_that_lowers_both_is_not_warned_of_it():
    records = healthy(random.Random(0), **ALIKE)
    assert not any("less likely" in text for text in warned(records, loss="apo_down"))
    assert any("less likely" in text for text in warned(records, loss="apo_zero"))


def test_falling_per_token_rewards_are_found_too():
    shape = {"chosen": lambda done: -0.05 * done, "rejected": lambda done: -0.05 * done}
    records = healthy(random.Random(3), spread=0.005, **shape)
    for options in ({"length_normalised": True, "beta": 2}, {"loss": "ipo"}):
        assert any("displacement" in text for text in warned(records, **options))
    assert not warned(records), "ln 2 of an answer, that is"


def test_only_a_loss_with_a_sigmoid_of_the_margin_can_be_too_sure():
    shape = {"chosen": lambda done: 14 * done, "rejected": lambda done: -14 * done}
    records = healthy(random.Random(0), **shape)
    told = {name for name in NAMES if "explodes" in " ".join(warned(records, **of(name)))}
    assert told == {
        "sigmoid", "robust", "exo_pair", "aot", "aot_unpaired", "apo_down", "discopop",
    }  # fmt: skip
    assert "explodes" in " ".join(warned(records, loss="hinge,sigmoid"))
    for loss in ("hinge", "sigmoid"):
        found = " ".join(SimpoLoss(SimpoOptions(loss=loss)).warnings(records))
        assert ("explodes" in found) == (loss == "sigmoid")


def of(name: str) -> dict[str, object]:
    return {"loss": name} | ({"label_smoothing": 0.1} if name == "exo_pair" else {})


def test_orpo_is_too_sure_where_its_odds_ratio_is():
    records = healthy(random.Random(0))
    watch = OrpoLoss(OrpoOptions(beta=0.1)).warnings
    for top, wanted in ((8.0, True), (6.0, False)):
        odds = [r | {"log_odds_ratio": top + 0.01 * (r["step"] % 7)} for r in records]
        assert any("the log odds ratio explodes" in text for text in watch(odds)) == wanted
    assert not watch([r | {"margin": 20.0, "log_odds_ratio": 1.0} for r in records])


def test_an_exploding_margin_is_found_and_a_large_one_is_not():
    for top, wanted in ((14.0, True), (5.0, False)):
        shape = {"chosen": lambda done, top=top: top * done / 2, "spread": 2.0}
        shape |= {"rejected": lambda done, top=top: -top * done / 2}
        texts = [" ".join(warned(healthy(random.Random(seed), **shape))) for seed in range(RUNS)]
        found = sum("margin explodes" in text for text in texts)
        assert found >= 0.95 * RUNS if wanted else found == 0


def test_a_single_outlier_is_no_explosion():
    records = healthy(random.Random(4))
    records[-3]["margin"] = 1e4
    assert not warned(records, every=1)


def test_nothing_is_said_of_few_steps_of_nothing_and_of_other_records():
    loss = DpoLoss()
    assert not loss.warnings([])
    assert not loss.warnings([{"step": 0, "eval_loss": 0.69, "eval_accuracy": 0.5}])
    bare = [{"step": n, "loss": 1.0} for n in range(200)]
    assert not loss.warnings(bare)
    assert not DpoLoss(DpoOptions(loss="sft")).warnings(healthy(random.Random(0)))


def test_evaluations_between_the_steps_change_nothing():
    records = run(random.Random(5), **NOISE)
    among = [part for r in records for part in (r, {"step": r["step"], "eval_loss": 0.7})]
    loss = DpoLoss()
    assert loss.warnings(among) == loss.warnings(records) != []


def test_so_many_pairs_tell_an_accuracy_of_0_6_from_chance():
    count = pairs_needed(0.6, 0.05, 0.999)
    draw = random.Random(6)
    wins = [sum(draw.random() < 0.6 for _ in range(count)) for _ in range(1000)]
    assert sum(above_chance(w, count, 0.05) for w in wins) >= 995
    chance = [sum(draw.random() < 0.5 for _ in range(count)) for _ in range(1000)]
    assert 25 <= sum(above_chance(w, count, 0.05) for w in chance) <= 75


@pytest.mark.parametrize("count", [RECENT, 100])
def test_the_tests_keep_to_their_level(count):
    draw = random.Random(7)
    trials = 4000
    noise = [[draw.gauss(0, 1) for _ in range(count)] for _ in range(trials)]
    for found in (
        sum(surely_above(values, 0.0, 0.01) for values in noise),
        sum(surely_falls(values, 0.01) for values in noise),
    ):
        assert 0.005 * trials <= found <= 0.016 * trials


def unreferenced(fall: float, gain: float, seed: int = 8) -> Records:
    """Log-probs that fall by so many nats, and a margin of means that grows by so much."""
    draw = random.Random(seed)
    records = healthy(draw)
    for record in records:
        done = record["step"] / STEP_COUNT
        for name, start in (("logps_chosen", -60.0), ("logps_rejected", -50.0)):
            record[name] = draw.gauss(start - fall * done, 8 / math.sqrt(BATCH))
        means = [draw.gauss(-1 - fall * done / 60, 0.1 / math.sqrt(BATCH)) for _ in "wl"]
        record["rewards_chosen"] = 2 * means[0]
        record["rewards_rejected"] = 2 * means[1] - gain * done
        record["margin"] = record["rewards_chosen"] - record["rewards_rejected"]
        del record["log_ratio_chosen"], record["kl"]
    return records


@pytest.mark.parametrize(
    ("fall", "gain", "wanted"),
    [(60.0, 0.0, True), (60.0, 2.0, False), (-60.0, 0.0, False), (0.0, 0.0, False)],
)
def test_without_a_reference_log_probs_are_compared_with_those_before(fall, gain, wanted):
    records = unreferenced(fall, gain)
    for loss, flag in (
        (SimpoLoss(), "--simpo.nll-weight"),
        (OrpoLoss(), "--orpo.beta"),
        (CpoLoss(CpoOptions(loss="ipo")), "--cpo.nll-weight"),
    ):
        fell = [text for text in loss.warnings(records) if "displacement" in text]
        assert bool(fell) == wanted
        assert all(flag in text and "does not grow" in text for text in fell)


@pytest.mark.parametrize("loss", [SimpoLoss(), RewardLoss()], ids=["simpo", "reward"])
def test_without_a_reference_a_margin_that_rises_is_more_than_chance(loss):
    """It may start on either side of 0."""
    steps = 2 * STEP_COUNT
    for rise, wanted in ((0.0, 0.95), (1.0, 0.0)):
        runs = [
            run(
                random.Random(seed),
                **NOISE | {"chosen": lambda done, rise=rise: rise * done - 2, "steps": steps},
            )
            for seed in range(RUNS)
        ]
        told = [
            any(
                "at chance" in text
                for n in range(0, steps + 1, 20)
                for text in loss.warnings(r[:n])
            )
            for r in runs
        ]
        assert sum(told) >= wanted * RUNS if wanted else not any(told)


def of_cpo(draw: random.Random, accuracy: float, start: float, growth: float) -> Records:
    """Sums of log-probs without a reference, as far apart as answers' lengths put them."""
    shape = {"accuracy": lambda _done: accuracy, "spread": 20.0}
    shape |= {"chosen": lambda done: start + growth * done, "rejected": lambda _done: 0.0}
    return [{n: v for n, v in r.items() if n != "kl"} for r in run(draw, **shape)]


@pytest.mark.parametrize("start", [30.0, 0.0, -30.0])
@pytest.mark.parametrize("loss", ["sigmoid", "hinge"])
def test_lengths_alone_are_no_fault_of_cpo(start, loss):
    watch = CpoLoss(CpoOptions(loss=loss)).warnings
    for seed in range(RUNS):
        records = of_cpo(random.Random(seed), accuracy=0.5 - start / 100, start=start, growth=0.0)
        assert not any(watch(records[:count]) for count in range(0, len(records) + 1, 20))


def test_a_margin_of_cpo_that_grows_explodes_wherever_it_started():
    watch = CpoLoss().warnings
    for start in (-30.0, 30.0):
        made = [of_cpo(random.Random(s), 0.5, start, growth=40.0) for s in range(RUNS)]
        texts = [" ".join(watch(records)) for records in made]
        assert sum("margin explodes" in text for text in texts) >= 0.95 * RUNS
        assert not any(watch(records[: 2 * RECENT + 8]) for records in made)


def test_means_over_tokens_are_judged_as_they_stand():
    records = of_cpo(random.Random(0), accuracy=0.5, start=30.0, growth=0.0)
    assert len(records) * BATCH > PAIRS
    texts = " ".join(CpoLoss(CpoOptions(loss="ipo")).warnings(records))
    assert "accuracy is at chance" in texts
    assert "explodes" not in texts, "ipo has no logit"
