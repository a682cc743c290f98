"""The DPO loss against its textbook definition, written over padded logits in float64."""

from __future__ import annotations

import math
import random

import pytest
import torch
from anima_dpo.loss import DpoLoss
from anima_dpo.options import DpoOptions

from anima_core import AnimaError, DataError, EncodedExample, Role, TokenSegment
from anima_core.testing import (
    batch_of,
    check_gradient,
    check_micro_batch_invariance,
    random_examples,
)

VOCAB = 11


def textbook(chosen_logits, rejected_logits, reference_logits, ids, masks, weights, beta, smooth):
    """Rafailov et al. 2023, eq. 7, for padded ids [B, T], logits [B, T, V] and masks [B, T].

    Returns each pair's loss and reward margin. Written without any of the code under test: the
    probability that the labels say is right is a sigmoid, and its logarithm a logarithm.
    """

    def answer_logp(logits, answer_ids, mask):
        probabilities = torch.exp(logits) / torch.exp(logits).sum(-1, keepdim=True)
        total = torch.zeros(len(answer_ids), dtype=torch.float64)
        for row in range(len(answer_ids)):
            for t in range(1, answer_ids.shape[1]):
                if mask[row, t]:
                    total[row] += torch.log(probabilities[row, t - 1, answer_ids[row, t]])
        return total

    reference_chosen, reference_rejected = reference_logits
    ratio_chosen = answer_logp(chosen_logits, ids[0], masks[0]) - answer_logp(
        reference_chosen, ids[0], masks[0]
    )
    ratio_rejected = answer_logp(rejected_logits, ids[1], masks[1]) - answer_logp(
        reference_rejected, ids[1], masks[1]
    )
    p = 1 / (1 + torch.exp(-beta * (ratio_chosen - ratio_rejected)))
    losses = -(1 - smooth) * torch.log(p) - smooth * torch.log(1 - p)
    return (weights * losses).sum(), beta * ratio_chosen, beta * ratio_rejected


class Rectangle:
    """The same pairs as padded rectangles, with logits of a policy and of a reference."""

    def __init__(self, examples: list[EncodedExample], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.ids, self.masks, self.policy, self.reference = [], [], [], []
        for answer in (1, 2):
            rows = [e.segments[0].ids + e.segments[answer].ids for e in examples]
            flags = [e.segments[0].supervised + e.segments[answer].supervised for e in examples]
            width = max(map(len, rows))
            self.ids.append(torch.tensor([r + (0,) * (width - len(r)) for r in rows]))
            self.masks.append(torch.tensor([f + (False,) * (width - len(f)) for f in flags]))
            shape = (len(rows), width, VOCAB)
            self.policy.append(torch.randn(shape, generator=generator, dtype=torch.float64))
            self.reference.append(torch.randn(shape, generator=generator, dtype=torch.float64))

    def flat(self, logits: list[torch.Tensor]) -> torch.Tensor:
        """Log-probs of targets in the order in which a batch has them: by example, then answer."""
        values = []
        for row in range(len(self.ids[0])):
            for answer in (0, 1):
                logps = torch.log_softmax(logits[answer][row], -1)
                values.extend(
                    logps[t - 1, self.ids[answer][row, t]]
                    for t in range(1, self.ids[answer].shape[1])
                    if self.masks[answer][row, t]
                )
        return torch.stack(values)


@pytest.mark.parametrize("beta", [0.1, 0.7])
@pytest.mark.parametrize("smooth", [0.0, 0.2])
def test_agrees_with_the_textbook(beta, smooth):
    examples = random_examples("preference", 6, seed=3, vocab=VOCAB, weighted=True)
    batch, square = batch_of(examples), Rectangle(examples, seed=4)
    for leaf in square.policy:
        leaf.requires_grad_()
    weights = batch.weights.double()
    expected, chosen, rejected = textbook(
        *square.policy, square.reference, square.ids, square.masks, weights, beta, smooth
    )
    loss = DpoLoss(DpoOptions(beta=beta, label_smoothing=smooth))
    out = loss(batch, square.flat(square.policy), square.flat(square.reference))

    torch.testing.assert_close(out.totals["dpo"], expected)
    assert loss.denominators(batch) == {"dpo": pytest.approx(float(weights.sum()))}
    ours = torch.autograd.grad(out.totals["dpo"], square.policy)
    theirs = torch.autograd.grad(expected, square.policy)
    torch.testing.assert_close(ours, theirs)
    chosen, rejected = chosen.detach(), rejected.detach()

    count = len(examples)
    means = {"rewards_chosen": chosen, "rewards_rejected": rejected, "margin": chosen - rejected}
    for name, value in means.items():
        assert out.metrics[name][1] == count
        torch.testing.assert_close(out.metrics[name][0], value.sum())
    wins = sum(float(c) > float(r) for c, r in zip(chosen, rejected, strict=True))
    assert 0 < wins < count, "the example data must have both kinds of pair"
    assert float(out.metrics["accuracy"][0]) == wins


def test_log_probs_of_the_answers_are_reported():
    example = pair(chosen=2, rejected=3)
    logps = torch.tensor([-1.0, -2.0, -4.0, -8.0, -16.0], requires_grad=True)
    metrics = DpoLoss()(batch_of([example]), logps, torch.zeros(5)).metrics
    assert float(metrics["logps_chosen"][0]) == -3.0
    assert float(metrics["logps_rejected"][0]) == -28.0
    assert not any(torch.as_tensor(v).requires_grad for pair in metrics.values() for v in pair)


@pytest.mark.parametrize("smooth", [0.0, 0.3])
def test_starts_at_ln_2_exactly(smooth):
    batch = batch_of(random_examples("preference", 5, seed=1, vocab=VOCAB))
    logps = -100 * torch.rand(len(batch.targets), generator=torch.Generator().manual_seed(0))
    loss = DpoLoss(DpoOptions(beta=0.3, label_smoothing=smooth))
    out = loss(batch, logps, logps.clone())
    mean = float(out.totals["dpo"]) / loss.denominators(batch)["dpo"]
    assert mean == pytest.approx(math.log(2), rel=1e-6)
    assert float(out.metrics["margin"][0]) == 0
    assert out.metrics["accuracy"] == (2.5, 5), "a tie is half a win"


@pytest.mark.parametrize("smooth", [0.0, 0.1])
def test_gradient_is_the_finite_difference(smooth):
    batch = batch_of(random_examples("preference", 4, seed=2, vocab=VOCAB, weighted=True))
    check_gradient(DpoLoss(DpoOptions(beta=0.5, label_smoothing=smooth)), batch)


def test_micro_batches_change_nothing():
    examples = random_examples("preference", 7, seed=5, vocab=VOCAB, weighted=True)
    check_micro_batch_invariance(DpoLoss(DpoOptions(beta=0.2, label_smoothing=0.1)), examples)


def test_a_small_change_of_long_answers_survives_float32():
    length = 2000
    batch = batch_of([pair(chosen=length, rejected=length)])
    reference = torch.full((2 * length,), -7.3)
    logps = reference.clone()
    logps[:length] += 2.0**-20
    margin = DpoLoss(DpoOptions(beta=1.0))(batch, logps, reference).metrics["margin"][0]
    exact = (logps.double() - reference.double())[:length].sum()
    assert float(margin) == pytest.approx(float(exact), rel=1e-4)


def test_extreme_margins_stay_finite():
    batch = batch_of([pair(chosen=1, rejected=1)])
    logps = torch.tensor([-1e4, 0.0], requires_grad=True)
    total = DpoLoss(DpoOptions(beta=1.0))(batch, logps, torch.zeros(2)).totals["dpo"]
    total.backward()
    assert total.item() == pytest.approx(1e4)
    assert logps.grad is not None
    assert logps.grad.tolist() == pytest.approx([-1.0, 1.0])


def test_a_weight_counts_an_example_as_often():
    once = random_examples("preference", 2, seed=8, vocab=VOCAB)
    twice = [EncodedExample(once[0].segments, weight=2.0), once[1]]
    random_logps = random.Random(0)
    logps, reference = {}, {}
    for example in once:
        logps[example] = [-random_logps.random() for _ in range(example.supervised)]
        reference[example] = [-random_logps.random() for _ in range(example.supervised)]
    loss = DpoLoss(DpoOptions(beta=0.9))

    def mean(examples: list[EncodedExample], keys: list[EncodedExample]) -> float:
        batch = batch_of(examples)
        flat = [torch.tensor([v for k in keys for v in d[k]]) for d in (logps, reference)]
        return float(loss(batch, *flat).totals["dpo"]) / loss.denominators(batch)["dpo"]

    repeated = mean([once[0], once[0], once[1]], [once[0], once[0], once[1]])
    assert mean(twice, once) == pytest.approx(repeated, rel=1e-6)


def test_a_missing_reference_is_said():
    batch = batch_of([pair(1, 1)])
    with pytest.raises(AnimaError, match="reference"):
        DpoLoss()(batch, torch.zeros(2))
    with pytest.raises(AnimaError, match="3 reference log-probs for 2 targets"):
        DpoLoss()(batch, torch.zeros(2), torch.zeros(3))


@pytest.mark.parametrize(("chosen", "rejected", "which"), [(0, 2, "chosen"), (2, 0, "rejected")])
def test_an_answer_without_a_target_is_refused(chosen, rejected, which):
    batch = batch_of([pair(2, 2), pair(chosen, rejected)])
    with pytest.raises(DataError, match=f"{which} answer is a target in example 2") as caught:
        DpoLoss().denominators(batch)
    assert caught.value.fix
    zeros = torch.zeros(len(batch.targets))
    with pytest.raises(DataError, match=which):
        DpoLoss()(batch, zeros, zeros)


def pair(chosen: int, rejected: int) -> EncodedExample:
    """A pair whose answers have so many targets, each followed by one token that is none."""
    answers = [
        TokenSegment((1,) * (n + 1), (True,) * n + (False,), role, parent=0)
        for n, role in ((chosen, Role.CHOSEN), (rejected, Role.REJECTED))
    ]
    return EncodedExample((TokenSegment((3, 4), (False, False), Role.PROMPT), *answers))
