"""What the core relies on, for each loss: micro-batches, state, finiteness, metrics."""

from __future__ import annotations

import pytest
import torch
from anima_dpo.facts import FACTS, NAMES
from anima_dpo.loss import DpoLoss, ShiftedDpoLoss, make_loss
from anima_dpo.options import DpoOptions

from anima_core.testing import (
    batch_of,
    check_loss,
    check_micro_batch_invariance,
    random_examples,
)

MIXED = {"loss": "sigmoid,sft,hinge", "weights": "1,0.3,2", "rpo_alpha": 0.5}
VARIANTS = [
    MIXED,
    {"loss": "aot,sft", "weights": "1,0.2"},
    {"ld_alpha": 0.4, "length_normalised": True},
    {"f_divergence": "alpha_divergence"},
    {"f_divergence": "js_divergence"},
    {"f_divergence": "forward_kl"},
    {"loss": "bco_pair", "bco_shift": False},
]


def made(name, **options):
    smoothing = {"label_smoothing": 0.1} if FACTS[name].smoothing else {}
    return make_loss(DpoOptions(loss=name, **smoothing, **options))


def drawn(examples, seed=0):
    batch = batch_of(examples)
    generator = torch.Generator().manual_seed(seed)
    logps, reference = (
        -3 * torch.rand(len(batch.targets), generator=generator, dtype=torch.float64)
        for _ in range(2)
    )
    return batch, logps.requires_grad_(), reference


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_sound_loss(name):
    check_loss(made(name))


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_it_is_a_sound_loss_with_other_options(options):
    check_loss(make_loss(DpoOptions(**options)))


def test_micro_batches_change_nothing_where_pairs_are_weighed_by_the_model():
    """Its weights have no gradient, so the kit's finite differences do not apply."""
    examples = random_examples("preference", 6, seed=2, weighted=True)
    check_micro_batch_invariance(make_loss(DpoOptions(wpo=True)), examples)


def test_what_sorts_or_remembers_sees_the_whole_step():
    whole = {name for name in NAMES if made(name).scope == "step"}
    assert whole == {"aot", "aot_unpaired"}
    assert make_loss(DpoOptions(loss="bco_pair,aot")).scope == "step"
    stateful = {name for name in NAMES if hasattr(made(name), "state_dict")}
    assert stateful == {"bco_pair"}
    assert not hasattr(make_loss(DpoOptions(loss="bco_pair", bco_shift=False)), "state_dict")


def test_only_a_loss_that_compares_asks_for_the_reference():
    assert {name for name in NAMES if not made(name).uses_reference} == {"sft"}
    batch, logps, _ = drawn(random_examples("preference", 3))
    out = made("sft")(batch, logps)
    assert list(out.metrics) == ["logps_chosen", "logps_rejected"]


@pytest.mark.parametrize("name", NAMES)
def test_extreme_ratios_give_no_nan(name):
    batch, logps, reference = drawn(random_examples("preference", 4))
    far = (logps.detach() * 1e3).float().requires_grad_()
    loss = made(name)
    totals = loss(batch, far, reference.float()).totals
    (gradient,) = torch.autograd.grad(sum(totals.values()), far)
    assert not gradient.isnan().any()
    if name != "discopop":  # its exponential is meant to explode
        assert all(total.isfinite() for total in totals.values())


def test_each_of_several_losses_is_reported():
    batch, logps, reference = drawn(random_examples("preference", 5, weighted=True))
    loss = make_loss(DpoOptions(**MIXED))
    out = loss(batch, logps, reference)
    below = loss.denominators(batch)
    means = {
        name.removeprefix("loss_"): float(value / count)
        for name, (value, count) in out.metrics.items()
        if name.startswith("loss_")
    }
    alone = float(DpoLoss()(batch, logps, reference).totals["dpo"].detach()) / below["dpo"]
    assert means["sigmoid"] == pytest.approx(alone)
    whole = sum(float(total.detach()) / below[name] for name, total in out.totals.items())
    parts = means["sigmoid"] + 0.3 * means["sft"] + 2 * means["hinge"] + 0.5 * means["rpo"]
    assert parts == pytest.approx(whole)


def test_bco_shifts_by_the_mean_reward_of_the_steps_before():
    options = DpoOptions(loss="bco_pair", beta=0.5)
    first, second = (random_examples("preference", 4, seed=s, weighted=True) for s in (1, 2))
    loss, unshifted = make_loss(options), DpoLoss(options)
    batch, logps, reference = drawn(first)
    before = unshifted(batch, logps, reference)
    out = loss(batch, logps, reference)
    assert torch.equal(out.totals["dpo"], before.totals["dpo"])
    loss.step_done(sums(out))

    gain = (logps - reference).detach()
    reward = 0.5 * batch.per_example(gain).double() / 2  # the mean of both answers'
    weights = batch.weights.double()
    delta = (weights * reward).sum() / weights.sum()
    batch, logps, reference = drawn(second, seed=5)
    gain = logps - reference
    expected = sum(
        weight * -(torch.log(1 / (1 + torch.exp(-sign * (0.5 * total - delta)))))
        for sign, role in ((1, 2), (-1, 3))
        for weight, total in zip(batch.weights.double(), batch.per_example(gain, role), strict=True)
    )
    torch.testing.assert_close(loss(batch, logps, reference).totals["dpo"], expected)


def sums(*outputs):
    """The metrics of a step's micro-batches, as the core adds them up."""
    added = dict.fromkeys(outputs[0].metrics, (0.0, 0.0))
    for out in outputs:
        for name, (value, count) in out.metrics.items():
            before, n = added[name]
            added[name] = before + float(value), n + float(count)
    return added


def test_the_shifts_of_bco_do_not_depend_on_the_cut():
    """Nor on who computes a part: each of two processes is told of the whole step."""
    options = DpoOptions(loss="bco_pair", beta=0.5)
    whole, other = make_loss(options), make_loss(options)
    for seed in range(4):
        examples = random_examples("preference", 5, seed=seed, weighted=True)
        batch, logps, reference = drawn(examples, seed)
        at = [(batch.target_example == n).nonzero().flatten() for n in range(5)]
        out = whole(batch, logps, reference)
        parts = [
            other(batch_of(examples, part), *(v[torch.cat([at[n] for n in part])] for v in given))
            for given in [(logps, reference)]
            for part in ([0, 3], [1], [2, 4])
        ]
        total = sum(part.totals["dpo"] for part in parts)
        torch.testing.assert_close(total, out.totals["dpo"], rtol=1e-12, atol=0)
        whole.step_done(sums(out))
        other.step_done(sums(*parts))
        assert whole.state_dict() == pytest.approx(other.state_dict(), rel=1e-12)
    assert whole.state_dict()["weight"] > 20 * 0.5


def test_bco_goes_on_from_its_state_and_evaluation_leaves_it():
    options = DpoOptions(loss="bco_pair")
    loss = make_loss(options)
    batch, logps, reference = drawn(random_examples("preference", 4))
    loss.step_done(sums(loss(batch, logps, reference)))
    state = loss.state_dict()
    assert state["weight"] == 4
    loss(batch, logps, reference)
    assert loss.state_dict() == state
    other = ShiftedDpoLoss(options)
    other.load_state_dict(state)
    kept, resumed = (each(batch, logps, reference).totals["dpo"] for each in (loss, other))
    assert torch.equal(kept, resumed)
    fresh = make_loss(options)(batch, logps, reference).totals["dpo"]
    assert not torch.equal(kept, fresh)


def test_sorted_losses_do_not_depend_on_the_order_of_the_pairs():
    examples = random_examples("preference", 6, seed=3, weighted=True)
    batch, logps, reference = drawn(examples)
    turned = batch_of(examples, range(5, -1, -1))
    at = torch.cat([(batch.target_example == i).nonzero().flatten() for i in range(5, -1, -1)])
    for name in ("aot", "aot_unpaired"):
        one = made(name)(batch, logps, reference).totals["dpo"]
        other = made(name)(turned, logps[at], reference[at]).totals["dpo"]
        torch.testing.assert_close(one, other)
