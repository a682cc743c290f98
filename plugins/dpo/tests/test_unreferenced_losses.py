"""orpo, simpo and cpo against their papers' formulas: scalars in float64, pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
from anima_dpo.cpo.loss import CpoLoss
from anima_dpo.cpo.strategy import Cpo, CpoOptions
from anima_dpo.orpo.loss import OrpoLoss
from anima_dpo.orpo.strategy import Orpo, OrpoOptions
from anima_dpo.simpo.loss import SimpoLoss
from anima_dpo.simpo.strategy import Simpo, SimpoOptions
from pydantic import ValidationError

from anima_core import DataError, EncodedExample, Role, TokenSegment
from anima_core.testing import (
    batch_of,
    check_import_budget,
    check_loss,
    check_strategy,
    random_examples,
    run_context,
)

LENGTHS = [(3, 2), (1, 4), (2, 2), (5, 1), (4, 6)]
WEIGHTS = [1.0, 3.0, 1.0, 2.0, 0.5]
STRATEGIES = [Orpo, Simpo, Cpo]


def data(seed=0):
    """A batch and the log-probs of its targets; and those written out, pair by pair."""
    examples = [
        EncodedExample(
            (
                TokenSegment((3, 4), (False, False), Role.PROMPT),
                TokenSegment((1,) * w, (True,) * w, Role.CHOSEN, parent=0),
                TokenSegment((2,) * v, (True,) * v, Role.REJECTED, parent=0),
            ),
            weight=weight,
        )
        for (w, v), weight in zip(LENGTHS, WEIGHTS, strict=True)
    ]
    generator = torch.Generator().manual_seed(seed)
    logps = -2 * torch.rand(sum(map(sum, LENGTHS)), generator=generator, dtype=torch.float64)
    logps.requires_grad_()
    pairs, at = [], 0
    for w, v in LENGTHS:
        pairs.append((list(logps[at : at + w]), list(logps[at + w : at + w + v])))
        at += w + v
    return batch_of(examples), logps, pairs


def mean(values):
    return sum(values) / len(values)


def sigma(x):
    return 1 / (1 + torch.exp(-x))


def bernoulli(m, e=0.0):
    return -(1 - e) * torch.log(sigma(m)) - e * torch.log(1 - sigma(m))


def over_pairs(formula, pairs):
    return sum(k * formula(w, v) for k, (w, v) in zip(WEIGHTS, pairs, strict=True)) / sum(WEIGHTS)


def nll(pairs):
    """Over all chosen tokens, each counted by its pair's weight."""
    tokens = sum(k * len(w) for k, (w, _) in zip(WEIGHTS, pairs, strict=True))
    return -sum(k * sum(w) for k, (w, _) in zip(WEIGHTS, pairs, strict=True)) / tokens


def odds_ratio(w, v):
    """odds(y) = P / (1 - P), P the geometric mean of the tokens' probabilities."""
    p, q = (math.prod(torch.exp(t) for t in y) ** (1 / len(y)) for y in (w, v))
    return (p / (1 - p)) / (q / (1 - q))


def hinge(m):
    return torch.clamp(1 - m, min=0)


CASES = {
    "orpo": (
        OrpoLoss(),
        lambda ps: (
            nll(ps) + 0.1 * over_pairs(lambda w, v: bernoulli(torch.log(odds_ratio(w, v))), ps)
        ),
    ),
    "orpo, lambda 0.7": (
        OrpoLoss(OrpoOptions(beta=0.7)),
        lambda ps: (
            nll(ps) + 0.7 * over_pairs(lambda w, v: bernoulli(torch.log(odds_ratio(w, v))), ps)
        ),
    ),
    "simpo": (
        SimpoLoss(),
        lambda ps: over_pairs(lambda w, v: bernoulli(2.0 * mean(w) - 2.0 * mean(v) - 1.0), ps),
    ),
    "simpo, all set": (
        SimpoLoss(
            SimpoOptions(beta=1.5, gamma_beta_ratio=0.2, label_smoothing=0.1, nll_weight=0.4)
        ),
        lambda ps: (
            0.4 * nll(ps)
            + over_pairs(lambda w, v: bernoulli(1.5 * (mean(w) - mean(v)) - 0.3, 0.1), ps)
        ),
    ),
    "simpo, hinge": (
        SimpoLoss(SimpoOptions(loss="hinge", beta=1.5, gamma_beta_ratio=0.2)),
        lambda ps: over_pairs(lambda w, v: hinge(1.5 * (mean(w) - mean(v)) - 0.3), ps),
    ),
    "cpo": (
        CpoLoss(),
        lambda ps: nll(ps) + over_pairs(lambda w, v: bernoulli(0.1 * (sum(w) - sum(v))), ps),
    ),
    "cpo, all set": (
        CpoLoss(CpoOptions(beta=0.4, label_smoothing=0.2, nll_weight=0.3)),
        lambda ps: (
            0.3 * nll(ps) + over_pairs(lambda w, v: bernoulli(0.4 * (sum(w) - sum(v)), 0.2), ps)
        ),
    ),
    "cpo, hinge, no likelihood": (
        CpoLoss(CpoOptions(loss="hinge", beta=0.4, nll_weight=0)),
        lambda ps: over_pairs(lambda w, v: hinge(0.4 * (sum(w) - sum(v))), ps),
    ),
    "cpo, ipo": (
        CpoLoss(CpoOptions(loss="ipo", beta=0.4)),
        lambda ps: nll(ps) + over_pairs(lambda w, v: (mean(w) - mean(v) - 1.25) ** 2, ps),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_its_papers_formula(name):
    loss, expected = CASES[name]
    batch, logps, pairs = data()
    totals, below = loss(batch, logps).totals, loss.denominators(batch)
    assert totals.keys() == below.keys()
    ours = sum(total / below[key] for key, total in totals.items())
    theirs = expected(pairs)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    mine, written = (torch.autograd.grad(v, logps, retain_graph=True)[0] for v in (ours, theirs))
    torch.testing.assert_close(mine, written, rtol=1e-9, atol=1e-12)
    assert mine.abs().sum() > 0


@pytest.mark.parametrize("name", CASES)
def test_it_is_a_sound_loss_and_asks_for_no_reference(name):
    loss, _ = CASES[name]
    check_loss(loss)
    assert (loss.data, loss.scope, loss.uses_reference) == ("preference", "example", False)


REWARDS = {
    "orpo": lambda y: 0.1 * mean(y),
    "simpo": lambda y: 2.0 * mean(y),
    "cpo": lambda y: 0.1 * sum(y),
    "cpo, ipo": lambda y: 0.4 * mean(y),
}


@pytest.mark.parametrize("name", REWARDS)
def test_what_is_reported(name):
    loss, _ = CASES[name]
    batch, logps, pairs = data(seed=1)
    out = loss(batch, logps)
    found = {key: float(value / count) for key, (value, count) in out.metrics.items()}
    pairs = [tuple([t.detach() for t in y] for y in pair) for pair in pairs]
    rewards = [tuple(float(REWARDS[name](y)) for y in pair) for pair in pairs]
    assert found["rewards_chosen"] == pytest.approx(mean([w for w, _ in rewards]))
    assert found["rewards_rejected"] == pytest.approx(mean([v for _, v in rewards]))
    assert found["margin"] == pytest.approx(mean([w - v for w, v in rewards]))
    assert found["accuracy"] == mean([w > v for w, v in rewards])
    assert found["logps_chosen"] == pytest.approx(mean([float(sum(w)) for w, _ in pairs]))
    assert found["logps_rejected"] == pytest.approx(mean([float(sum(v)) for _, v in pairs]))
    assert found["nll"] == pytest.approx(float(nll(pairs)))
    if name == "orpo":
        ratio = mean([math.log(odds_ratio(w, v)) for w, v in pairs])
        assert found["log_odds_ratio"] == pytest.approx(ratio)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orpo_stays_finite_where_an_answer_is_certain(dtype):
    batch = batch_of(random_examples("preference", 3))
    sure = torch.zeros(len(batch.targets), dtype=dtype, requires_grad=True)
    totals = OrpoLoss()(batch, sure).totals
    (gradient,) = torch.autograd.grad(sum(totals.values()), sure)
    assert all(total.isfinite() for total in totals.values())
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", CASES)
def test_answers_that_are_as_good_as_impossible_give_no_nan(name):
    loss, _ = CASES[name]
    batch, logps, _ = data()
    far = (logps.detach() * 1e3).float().requires_grad_()
    totals = loss(batch, far).totals
    (gradient,) = torch.autograd.grad(sum(totals.values()), far)
    assert all(total.isfinite() for total in totals.values())
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["orpo", "simpo", "cpo"])
def test_an_answer_without_a_target_is_told_under_the_losss_own_name(name):
    loss, _ = CASES[name]
    segments = (
        TokenSegment((3, 4), (False, False), Role.PROMPT),
        TokenSegment((1,), (True,), Role.CHOSEN, parent=0),
        TokenSegment((2,), (False,), Role.REJECTED, parent=0),
    )
    batch = batch_of([EncodedExample(segments)])
    for ask in (loss.denominators, lambda batch: loss(batch, torch.zeros(1))):
        with pytest.raises(DataError, match="rejected answer is a target in example 1") as caught:
            ask(batch)
        assert caught.value.where == name


@pytest.mark.parametrize("cls", STRATEGIES)
def test_it_is_a_sound_strategy_that_imports_no_torch(cls):
    check_strategy(cls)
    check_import_budget(cls.__module__)
    assert cls(cls.Options()).loss(run_context()).data == "preference"


@pytest.mark.parametrize(
    ("cls", "bad"),
    [
        (OrpoOptions, {"beta": 0}),
        (OrpoOptions, {"beta": math.inf}),
        (SimpoOptions, {"beta": -1}),
        (SimpoOptions, {"gamma_beta_ratio": -0.1}),
        (SimpoOptions, {"label_smoothing": 0.5}),
        (SimpoOptions, {"loss": "ipo"}),
        (CpoOptions, {"nll_weight": -1}),
        (CpoOptions, {"beta": math.nan}),
        (CpoOptions, {"loss": "kto_pair"}),
    ],
    ids=str,
)
def test_senseless_options_are_refused(cls, bad):
    with pytest.raises(ValidationError):
        cls(**bad)


@pytest.mark.parametrize(("cls", "loss"), [(Simpo, "hinge"), (Cpo, "hinge"), (Cpo, "ipo")])
def test_smoothing_that_would_do_nothing_is_refused(cls, loss):
    (idle,) = cls(cls.Options(loss=loss, label_smoothing=0.1)).validate(run_context())
    name = cls.__name__.lower()
    assert idle.where == f"--{name}.label-smoothing"
    assert "would do nothing" in idle.what
    assert f"--{name}.loss sigmoid" in idle.fix
    assert not cls(cls.Options(loss=loss)).validate(run_context())
    assert not cls(cls.Options(label_smoothing=0.1)).validate(run_context())
