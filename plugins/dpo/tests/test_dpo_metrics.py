"""What is reported of pairs, by definition."""

from __future__ import annotations

import pytest
import torch
from anima_dpo.loss import DpoLoss, make_loss
from anima_dpo.metrics import TIE, moved, reward_means
from anima_dpo.options import DpoOptions

from anima_core import EncodedExample, Role, TokenSegment
from anima_core.testing import batch_of, random_examples


def test_kl_is_half_the_mean_square_of_what_tokens_gained():
    logps = torch.tensor([-1.0, -2.0, -5.0], requires_grad=True)
    total, count = moved(logps, torch.tensor([-1.5, -2.0, -2.0]))["kl"]
    assert float(total) / count == pytest.approx((0.5**2 + 0 + 3**2) / 2 / 3)
    assert not total.requires_grad


def test_kl_agrees_with_both_divergences_near_the_reference_whoever_wrote_the_tokens():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, generator=generator, dtype=torch.float64)
    near = logits + 0.03 * torch.randn(40, generator=generator, dtype=torch.float64)
    p, q = torch.log_softmax(near, -1), torch.log_softmax(logits, -1)
    forward, backward = (p.exp() * (p - q)).sum(), (q.exp() * (q - p)).sum()
    for writer in (p, q):  # the expectation over all tokens, by the writer's probabilities
        expected = (writer.exp() * ((p - q) ** 2) / 2).sum()
        for divergence in (forward, backward):
            assert float(expected) == pytest.approx(float(divergence), rel=0.05)


def test_kl_is_of_the_log_probs_whatever_the_loss_makes_of_them():
    batch = batch_of(random_examples("preference", 4, seed=2, vocab=11))
    generator = torch.Generator().manual_seed(1)
    logps, reference = (-3 * torch.rand(len(batch.targets), generator=generator) for _ in "ab")
    wanted = float(((logps - reference) ** 2).mean()) / 2
    for options in ({}, {"ld_alpha": 0.1}, {"length_normalised": True}, {"beta": 5.0}):
        total, count = DpoLoss(DpoOptions(**options))(batch, logps, reference).metrics["kl"]
        assert float(total) / count == pytest.approx(wanted, rel=1e-5)
    assert "kl" not in DpoLoss(DpoOptions(loss="sft"))(batch, logps).metrics


def reported(options, seed=2):
    """The metrics of four pairs, and what each token of either kind of answer gained, by pair."""
    batch = batch_of(random_examples("preference", 4, seed=seed, vocab=11))
    generator = torch.Generator().manual_seed(seed)
    logps, reference = (-3 * torch.rand(len(batch.targets), generator=generator) for _ in "ab")
    found = DpoLoss(DpoOptions(**options))(batch, logps, reference).metrics
    gained = [
        [
            (logps - reference)[(batch.target_role == int(role)) & (batch.target_example == index)]
            for index in range(4)
        ]
        for role in (Role.CHOSEN, Role.REJECTED)
    ]
    return {name: float(total) / float(count) for name, (total, count) in found.items()}, gained


@pytest.mark.parametrize("options", [{}, {"beta": 3.0, "ld_alpha": 0.2}, {"loss": "ipo"}], ids=str)
def test_the_log_ratio_of_chosen_answers_says_what_became_of_their_perplexity(options):
    found, (chosen, _) = reported(options)
    tokens = torch.cat(chosen)
    assert found["log_ratio_chosen"] == pytest.approx(float(tokens.mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "of_tokens"), [("ipo", True), ("ipo,sft", True), ("ipo,sigmoid", False)]
)
def test_rewards_are_of_what_the_losses_compare(loss, of_tokens):
    found, answers = reported({"loss": loss, "beta": 0.2})
    sums = [[0.2 * float(a.sum()) for a in answer] for answer in answers]
    means = [[0.2 * float(a.mean()) for a in answer] for answer in answers]
    chosen, rejected = means if of_tokens else sums
    assert found["rewards_chosen"] == pytest.approx(sum(chosen) / 4, rel=1e-5)
    assert found["margin"] == pytest.approx((sum(chosen) - sum(rejected)) / 4, rel=1e-4)
    wins = sum(w > r for w, r in zip(chosen, rejected, strict=True)) / 4
    assert found["accuracy"] == wins


def test_rounding_does_not_decide_a_pair():
    chosen = torch.tensor([TIE, -TIE, 3 * TIE, -3 * TIE, 0.0], dtype=torch.float64)
    total, count = reward_means(chosen, torch.zeros(5, dtype=torch.float64))["accuracy"]
    assert (float(total), count) == (0.5 + 0.5 + 1 + 0 + 0.5, 5)


@pytest.mark.parametrize("tokens", [(1, 1), (1, 3), (500, 400)])
@pytest.mark.parametrize(
    "options",
    [
        {"beta": 0.01},
        {"beta": 0.5},
        {"beta": 10.0},
        {"beta": 10.0, "length_normalised": True},
        {"beta": 0.5, "loss": "ipo"},
        {"beta": 10.0, "f_divergence": "js_divergence"},
    ],
    ids=str,
)
def test_a_model_that_has_not_moved_is_right_half_of_the_time(options, tokens):
    """Whatever a nat is worth, and however many tokens are rounded; a real margin still counts."""
    segments = [
        TokenSegment((1, 2), (False, False), Role.PROMPT),
        *(
            TokenSegment((3,) * count, (True,) * count, role, 0)
            for count, role in zip(tokens, (Role.CHOSEN, Role.REJECTED), strict=True)
        ),
    ]
    batch = batch_of([EncodedExample(tuple(segments))] * 20)
    generator = torch.Generator().manual_seed(1)
    reference = -3 * torch.rand(len(batch.targets), generator=generator)
    noise = 3e-6 * torch.randn(len(batch.targets), generator=generator)
    loss = make_loss(DpoOptions(**options))
    total, count = loss(batch, reference + noise, reference).metrics["accuracy"]
    assert float(total) / float(count) == 0.5
    better = 1e-3 * (batch.target_role == int(Role.CHOSEN)) * (batch.target_example % 4 > 0)
    total, count = loss(batch, reference + noise + better, reference).metrics["accuracy"]
    assert float(total) / float(count) == 0.5 + 0.75 / 2
