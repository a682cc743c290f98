"""The loss of a reward model against its definition, and what it is to the core."""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import replace

import pytest
import torch
from anima_dpo.reward.head import RewardHead
from anima_dpo.reward.loss import RewardLoss
from anima_dpo.reward.strategy import Reward, RewardOptions
from pydantic import ValidationError

from anima_core import AnimaError, DataError
from anima_core.testing import (
    batch_of,
    check_import_budget,
    check_loss,
    check_strategy,
    random_examples,
    run_context,
)

MARGINS = (0.0, 0.5, 2.0)
PAIRS = [
    replace(pair, margin=margin)
    for pair, margin in zip(
        random_examples("preference", 3, seed=3, weighted=True), MARGINS, strict=True
    )
]
REWARDS = [(1.5, -0.5), (-1.0, 2.0), (0.25, 0.25)]
"""Of the chosen and of the rejected answer of each pair."""


def loss_of(**options):
    """A loss whose head reads the reward off the first number of a state."""
    loss = RewardLoss(RewardOptions(**options))
    loss.head(4)
    with torch.no_grad():
        loss._head.score.weight.copy_(torch.tensor([[1.0, 0, 0, 0]]))
    return loss


def judged(**options):
    states = torch.zeros(6, 4)
    states[:, 0] = torch.tensor([reward for pair in REWARDS for reward in pair])
    return loss_of(**options)(batch_of(PAIRS), states)


@pytest.mark.parametrize("centering", [0.0, 0.01, 2.0])
def test_it_is_the_bradley_terry_model(centering):
    expected = sum(
        pair.weight
        * (-math.log(1 / (1 + math.exp(-(w - r - pair.margin)))) + centering * (w + r) ** 2)
        for pair, (w, r) in zip(PAIRS, REWARDS, strict=True)
    )
    assert judged(centering=centering).totals["reward"].item() == pytest.approx(expected, rel=1e-5)


def test_it_is_a_mean_over_pairs_by_their_weights():
    below = loss_of().denominators(batch_of(PAIRS))
    assert below == {"reward": pytest.approx(sum(pair.weight for pair in PAIRS))}


def test_metrics_are_the_rewards_and_how_often_they_are_in_order():
    metrics = {n: float(s) / float(c) for n, (s, c) in judged().metrics.items()}
    assert metrics == {
        "rewards_chosen": pytest.approx(0.25),
        "rewards_rejected": pytest.approx(1.75 / 3),
        "margin": pytest.approx(-1 / 3),
        "accuracy": pytest.approx((1 + 0 + 0.5) / 3),
    }


def test_it_looks_at_the_last_token_of_each_answer():
    batch = batch_of(PAIRS)
    ends = [segment.stop - 1 for segment in batch.layout if segment.parent >= 0]
    assert loss_of().places(batch).tolist() == ends
    assert len(ends) == 2 * len(PAIRS)


def test_examples_that_are_no_pairs_are_refused():
    for examples in (random_examples("completion", 2), random_examples("unpaired", 2)):
        with pytest.raises(DataError, match="one chosen and one rejected"):
            loss_of().places(batch_of(examples))


def test_pairs_are_checked_once_a_pass(monkeypatch):
    """Where the states are asked for, and not again with them: a check waits for the device."""
    batch, loss = batch_of(PAIRS), loss_of()
    expected = loss(batch, torch.ones(6, 4)).totals["reward"]
    assert len(loss.places(batch)) == 6
    monkeypatch.setattr(torch, "bincount", None)
    assert loss(batch, torch.ones(6, 4)).totals["reward"] == expected


def test_a_head_that_was_not_made_is_told():
    with pytest.raises(AnimaError, match="head was not made"):
        RewardLoss()(batch_of(PAIRS), torch.zeros(6, 4))


def test_the_head_starts_as_in_learning_to_summarize():
    """Stiennon et al. 2020, appendix B.1: N(0, 1 / (d + 1)), d the size of a hidden state."""
    torch.manual_seed(0)
    weight = RewardHead(4095).score.weight
    assert weight.shape == (1, 4095)
    assert weight.mean().item() == pytest.approx(0, abs=4 / 4096)
    assert weight.std().item() == pytest.approx(1 / 64, rel=0.05)
    assert [*RewardHead(3).state_dict()] == ["score.weight"]


@pytest.mark.parametrize("centering", [0.0, 0.3])
def test_the_core_may_rely_on_it(centering):
    check_loss(RewardLoss(RewardOptions(centering=centering)))


def test_is_a_sound_strategy():
    check_strategy(Reward)
    check_import_budget("anima_dpo.reward.strategy")
    points = importlib.metadata.entry_points(group="anima.strategies", name="reward")
    assert [point.load() for point in points] == [Reward]


def test_options_reach_the_loss():
    loss = Reward(RewardOptions(centering=0.5)).loss(run_context())
    assert isinstance(loss, RewardLoss)
    assert loss.options.centering == 0.5


@pytest.mark.parametrize("bad", [-0.1, float("inf"), float("nan")])
def test_senseless_options_are_refused(bad):
    with pytest.raises(ValidationError):
        RewardOptions(centering=bad)
