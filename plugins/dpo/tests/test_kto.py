"""kto against its paper's formula, and what it says of data that it cannot learn from."""

from __future__ import annotations

import math

import pytest
import torch
from anima_dpo.kto.balance import LEAST, MOST, balance_problems
from anima_dpo.kto.loss import KtoLoss
from anima_dpo.kto.strategy import Kto, KtoOptions
from pydantic import ValidationError

from anima_core import AnimaError, DataError, DataSummary, EncodedExample, Role, TokenSegment
from anima_core.testing import (
    batch_of,
    check_import_budget,
    check_loss,
    check_strategy,
    run_context,
)
from anima_core.training.step import Tally

ROWS = [(True, 3, 2), (False, 1, 4), (True, 2, 0), (False, 5, 1), (False, 4, 6)]
"""Of each example the verdict, and the tokens of its answer and of another's (0: it has none)."""
WEIGHTS = [1.0, 3.0, 1.0, 2.0, 0.5]


def data(seed=0, rows=ROWS, others=True):
    """A batch, log-probs and reference; and by example the list of token ratios of each answer."""
    examples = []
    for (good, size, other), weight in zip(rows, WEIGHTS, strict=False):
        role = Role.CHOSEN if good else Role.REJECTED
        segments = [
            TokenSegment((3, 4), (False, False), Role.PROMPT),
            TokenSegment((1,) * size, (True,) * size, role, parent=0),
        ]
        if other and others:
            segments.append(TokenSegment((2,) * other, (True,) * other, Role.MISMATCHED, parent=0))
        examples.append(EncodedExample(tuple(segments), weight=weight))
    batch = batch_of(examples)
    generator = torch.Generator().manual_seed(seed)
    logps, reference = (
        -2 * torch.rand(len(batch.targets), generator=generator, dtype=torch.float64)
        for _ in range(2)
    )
    logps.requires_grad_()
    written, at = [], 0
    for _, size, there in rows:
        other = there if others else 0
        ratios = list(logps[at : at + size + other] - reference[at : at + size + other])
        written.append((ratios[:size], ratios[size:]))
        at += size + other
    return batch, logps, reference, written


def z0(written):
    """The weighted mean over the examples that have another's answer; a number, at least 0."""
    pairs = [(w, sum(o)) for w, (_, o) in zip(WEIGHTS, written, strict=False) if o]
    mean = sum(w * float(s.detach()) for w, s in pairs) / sum(w for w, _ in pairs)
    return max(0.0, mean)


def value(x):
    return 1 / (1 + torch.exp(-x))


def textbook(written, rows, beta, moved, desirable=1.0, undesirable=1.0):
    """The mean over examples of lambda_y - v(x, y), lambda_y times sigmoid being v (eq. 8)."""
    total = 0
    for (good, *_), (own, _), weight in zip(rows, written, WEIGHTS, strict=False):
        ratio = sum(own)
        gain = value(beta * (ratio - moved)) if good else value(beta * (moved - ratio))
        scale = desirable if good else undesirable
        total = total + weight * (scale - scale * gain)
    return total / sum(WEIGHTS[: len(rows)])


def same(options, expected, batch, logps, reference):
    loss = KtoLoss(options)
    total, below = loss(batch, logps, reference).totals["kto"], loss.denominators(batch)["kto"]
    torch.testing.assert_close(total / below, expected, rtol=1e-10, atol=1e-12)
    mine, written = (
        torch.autograd.grad(v, logps, retain_graph=True)[0] for v in (total / below, expected)
    )
    torch.testing.assert_close(mine, written, rtol=1e-9, atol=1e-12)
    assert mine.abs().sum() > 0
    return mine


@pytest.mark.parametrize("seed", range(4))
def test_it_is_its_papers_formula(seed):
    batch, logps, reference, written = data(seed)
    options = KtoOptions(beta=0.4, desirable_weight=1.3, undesirable_weight=0.6)
    expected = textbook(written, ROWS, 0.4, z0(written), 1.3, 0.6)
    gradient = same(options, expected, batch, logps, reference)
    assert not gradient[batch.target_role == int(Role.MISMATCHED)].any()


def test_the_seeds_above_have_an_estimate_on_both_sides_of_zero():
    found = [z0(data(seed)[3]) for seed in range(4)]
    assert min(found) == 0 < max(found)


def test_apo_zero_unpaired_estimates_nothing():
    batch, logps, reference, written = data(others=False)
    options = KtoOptions(loss="apo_zero_unpaired", beta=0.4, undesirable_weight=2)
    same(options, textbook(written, ROWS, 0.4, 0.0, undesirable=2.0), batch, logps, reference)
    loss = KtoLoss(options)
    assert (loss.scope, loss.mismatched, KtoLoss().scope, KtoLoss().mismatched) == (
        "example", False, "step", True,
    )  # fmt: skip


def test_without_another_answer_in_the_step_the_estimate_is_zero():
    batch, logps, reference, written = data(others=False)
    same(KtoOptions(beta=0.4), textbook(written, ROWS, 0.4, 0.0), batch, logps, reference)


@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_it_is_a_sound_loss(name):
    check_loss(KtoLoss(KtoOptions(loss=name, desirable_weight=1.5)))


def test_what_is_reported():
    batch, logps, reference, written = data(seed=2)
    out = KtoLoss(KtoOptions(beta=0.5))(batch, logps, reference)
    found = {name: float(total) / float(count) for name, (total, count) in out.metrics.items()}
    rewards = {
        kind: [0.5 * float(sum(own).detach()) for (good, *_), (own, _) in rows if good == kind]
        for rows in [list(zip(ROWS, written, strict=True))]
        for kind in (True, False)
    }
    chosen, rejected = (sum(rewards[kind]) / len(rewards[kind]) for kind in (True, False))
    assert found["rewards_chosen"] == pytest.approx(chosen)
    assert found["rewards_rejected"] == pytest.approx(rejected)
    assert KtoLoss().differences == {"margin": ("rewards_chosen", "rewards_rejected")}
    assert found["kl"] == pytest.approx(z0(written))
    spoken = batch.per_example(logps.detach(), Role.CHOSEN)
    assert found["logps_chosen"] == pytest.approx(float(spoken[[0, 2]].mean()))
    spoken = batch.per_example(logps.detach(), Role.REJECTED)
    assert found["logps_rejected"] == pytest.approx(float(spoken[[1, 3, 4]].mean()))


@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_the_margin_is_of_the_whole_step_however_it_is_cut(name):
    """A micro-batch may even hold one kind alone."""
    loss = KtoLoss(KtoOptions(loss=name))

    def tallied(*parts):
        tally = Tally()
        for rows in parts:
            batch, logps, reference, _ = data(rows=rows)
            tally.add(batch, loss(batch, logps.detach() * 0 - 1, reference * 0))
        return tally.means(loss)

    whole = tallied(ROWS)
    assert whole["margin"] == whole["rewards_chosen"] - whole["rewards_rejected"] != 0
    assert tallied(ROWS[:1], ROWS[1:])["margin"] == pytest.approx(whole["margin"])
    assert "margin" not in tallied(ROWS[:1])


def test_a_step_of_one_kind_has_nothing_of_the_other():
    batch, logps, reference, _ = data(rows=ROWS[:1])
    metrics = KtoLoss()(batch, logps, reference).metrics
    assert [name for name, (_, count) in metrics.items() if not count] == [
        "rewards_rejected", "logps_rejected",
    ]  # fmt: skip


def test_far_from_the_reference_it_stays_finite():
    batch, logps, reference, _ = data()
    far = (1e4 * logps.detach()).float().requires_grad_()
    total = KtoLoss()(batch, far, reference.float()).totals["kto"]
    (gradient,) = torch.autograd.grad(total, far)
    assert total.isfinite()
    assert gradient.isfinite().all()


def test_a_missing_reference_and_an_empty_answer_are_refused():
    batch, logps, reference, _ = data()
    for wrong in (None, reference[1:]):
        with pytest.raises(AnimaError, match="do not fit"):
            KtoLoss()(batch, logps, wrong)
    segments = (
        TokenSegment((3, 4), (False, False), Role.PROMPT),
        TokenSegment((1,), (False,), Role.CHOSEN, parent=0),
    )
    with pytest.raises(DataError, match="no token of the answer"):
        KtoLoss().denominators(batch_of([EncodedExample(segments)]))


def test_it_is_a_sound_strategy_that_imports_no_torch():
    check_strategy(Kto)
    check_import_budget("anima_dpo.kto.strategy")
    assert Kto(KtoOptions()).loss(run_context()).data == "unpaired"


@pytest.mark.parametrize(
    "bad",
    [
        {"beta": 0},
        {"beta": math.inf},
        {"desirable_weight": 0},
        {"undesirable_weight": -1},
        {"undesirable_weight": math.nan},
        {"loss": "bco"},
    ],
    ids=str,
)
def test_senseless_options_are_refused(bad):
    with pytest.raises(ValidationError):
        KtoOptions(**bad)


def test_steps_of_few_examples_are_warned_of():
    def levels(size, **options):
        found = Kto(KtoOptions(**options)).validate(run_context(batch_size=size))
        return [problem.level for problem in found]

    assert levels(1) == levels(7) == ["warning"]
    assert levels(8) == levels(1, loss="apo_zero_unpaired") == []
    (problem,) = Kto(KtoOptions()).validate(run_context(batch_size=1))
    assert "one example is a poor estimate" in problem.what


def test_a_last_step_of_few_examples_is_warned_of_with_a_size_that_leaves_none():
    def found(good, bad, name="kto", **run):
        loss = Kto(KtoOptions(loss=name)).loss(run_context(**run))
        return list(loss.data_problems(answers(good, bad)))

    (problem,) = found(50, 50, batch_size=32)
    assert problem.level == "warning"
    assert "holds 4 examples of 32" in problem.what
    advised = int(problem.fix.split()[2].rstrip(","))
    assert not found(50, 50, batch_size=advised)
    assert not found(50, 50, batch_size=32, steps=3), "it does not get there"
    assert not found(50, 50, batch_size=32, name="apo_zero_unpaired")
    assert not KtoLoss().data_problems(answers(50, 50)), "nobody said what a step is"


def answers(good, bad, each=(1.0, 1.0)):
    """So many answers of each kind, and what one of it weighs."""
    weights = {"good_weight": each[0] * good, "bad_weight": each[1] * bad}
    counts = {"good_answers": good, "bad_answers": bad} | weights
    return DataSummary(("a.jsonl",), "unpaired", good + bad, 9, 9, 9, 9, **counts)


@pytest.mark.parametrize(("good", "bad"), [(10, 0), (0, 7)])
@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_labels_of_one_kind_are_refused(name, good, bad):
    (problem,) = balance_problems(KtoOptions(loss=name), answers(good, bad))
    assert (problem.level, problem.exit_code) == ("error", 3)
    assert ("--sft" in problem.fix) == bool(good)


@pytest.mark.parametrize(("good", "bad"), [(100, 100), (4, 3), (1000, 800)])
def test_even_data_says_nothing(good, bad):
    assert not list(balance_problems(KtoOptions(), answers(good, bad)))


@pytest.mark.parametrize(("good", "bad"), [(10, 90), (900, 10), (3, 4), (7, 5), (1, 10**6)])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 2.0)])
def test_the_weights_that_are_advised_mend_it(good, bad, weights):
    options = KtoOptions(desirable_weight=weights[0], undesirable_weight=weights[1])
    (problem,) = balance_problems(options, answers(good, bad))
    assert problem.level == "warning"
    words = problem.fix.replace(",", "").rstrip(".").split()
    for flag, field in (
        ("--kto.desirable-weight", "desirable_weight"),
        ("--kto.undesirable-weight", "undesirable_weight"),
    ):
        advised = float(words[words.index(flag) + 1])
        mended = options.model_copy(update={field: advised})
        assert not list(balance_problems(mended, answers(good, bad)))
        assert LEAST <= mended.desirable_weight * good / (mended.undesirable_weight * bad) <= MOST
    other = options.model_copy(update={"loss": "apo_zero_unpaired"})
    assert not list(balance_problems(other, answers(good, bad)))


def test_records_count_by_their_weights():
    """As they do in the loss: 10 good answers of weight 9 are as many as 90 bad ones."""
    assert not list(balance_problems(KtoOptions(), answers(10, 90, (9.0, 1.0))))
    (problem,) = balance_problems(KtoOptions(), answers(10, 10, (1.0, 4.0)))
    assert "by the weights of the records, 0.25 times" in problem.what
    assert "--kto.desirable-weight 5" in problem.fix, "4 to 5.33"
    (problem,) = balance_problems(KtoOptions(), answers(10, 90))
    assert "weights of the records" not in problem.what


@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_accuracy_is_the_share_of_answers_on_their_side(name):
    batch, logps, reference, written = data(others=name == "kto")
    found = KtoLoss(KtoOptions(loss=name, beta=3.0))(batch, logps, reference).metrics["accuracy"]
    against = float(z0(written)) if name == "kto" else 0.0
    right = [
        (float(sum(own).detach()) > against) == good
        for (own, _), (good, _, _) in zip(written, ROWS, strict=True)
    ]
    assert 0 < sum(right) < 5
    assert (float(found[0]), found[1]) == (sum(right), 5)
    noise = 3e-6 * torch.randn(len(reference), generator=torch.Generator().manual_seed(1))
    still = KtoLoss(KtoOptions(loss=name))(batch, reference + noise, reference)
    assert float(still.metrics["accuracy"][0]) == 2.5, "rounding decides nothing"


def fall(chosen, rejected, steps=120):
    """Records of a run that moves the rewards of good and bad answers by so much a step."""
    wobble = [0.01 * math.sin(7 * n) for n in range(steps)]
    return [
        {
            "step": n, "loss": 0.5, "learning_rate": 1e-6, "examples": 32, "accuracy": 0.4,
            "rewards_chosen": chosen * n + wobble[n],
            "rewards_rejected": rejected * n - wobble[n],
            "margin": (chosen - rejected) * n + 2 * wobble[n],
        }
        for n in range(steps)
    ]  # fmt: skip


def test_a_fall_of_good_and_bad_answers_alike_is_told_of():
    loss = KtoLoss()
    (told,) = loss.warnings(fall(-0.02, -0.02))
    assert told.startswith("good and bad answers become less likely")
    assert "--kto.desirable-weight" in told
    assert "pair" not in told
    for chosen, rejected in ((0.02, -0.02), (-0.01, -0.03), (0.2, -0.2), (0.0, 0.0)):
        assert loss.warnings(fall(chosen, rejected)) == []
