"""The focal loss, against its definition."""

import pytest
import torch
from anima_example_losses.focal.strategy import Focal, FocalOptions
from pydantic import ValidationError

from anima_core.testing import (
    batch_of,
    check_loss,
    random_examples,
    run_context,
)

EXAMPLES = random_examples("completion", 6, seed=1, weighted=True, weighted_tokens=True)
GAMMAS = [0.0, 0.5, 1.0, 2.0, 5.0]


def loss(gamma, *, detach=False):
    return Focal(FocalOptions(gamma=gamma, detach=detach)).loss(run_context())


def drawn(batch, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return -3 * torch.rand(len(batch.targets), generator=generator, dtype=dtype)


def mean(focal, batch, logps):
    return focal(batch, logps).totals["focal"] / focal.denominators(batch)["focal"]


@pytest.mark.parametrize("gamma", GAMMAS)
def test_it_is_the_weighted_mean_of_equation_5(gamma):
    batch = batch_of(EXAMPLES)
    logps = drawn(batch)
    above = below = 0.0
    for place, weight in enumerate(batch.target_weights.tolist()):
        p = float(logps[place].exp())
        above += weight * -((1 - p) ** gamma) * float(logps[place])
        below += weight
    assert float(mean(loss(gamma), batch, logps)) == pytest.approx(above / below, rel=1e-6)


@pytest.mark.parametrize("detach", [False, True])
def test_gamma_0_is_supervised_fine_tuning_to_the_bit(detach):
    sft = pytest.importorskip("anima_core.loss.sft").SftLoss()
    batch = batch_of(EXAMPLES)
    results = []
    for made, name in ((loss(0.0, detach=detach), "focal"), (sft, "nll")):
        logps = drawn(batch, torch.float32).requires_grad_()
        total = made(batch, logps).totals[name]
        assert made.denominators(batch)[name] == sft.denominators(batch)["nll"]
        (gradient,) = torch.autograd.grad(total, logps)
        results.append((total, gradient))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("gamma", GAMMAS)
def test_its_gradient_is_exact_and_micro_batches_change_nothing(gamma):
    check_loss(loss(gamma))


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("detach", [False, True])
def test_its_derivative_is_the_one_that_is_documented(gamma, detach):
    batch = batch_of(EXAMPLES)
    logps = drawn(batch).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(gamma, detach=detach)(batch, logps).totals["focal"],
                                      logps)  # fmt: skip
    p, at = logps.detach().exp(), logps.detach()
    slope = -((1 - p) ** gamma)
    if not detach:
        slope = slope + gamma * p * (1 - p) ** (gamma - 1) * at
    torch.testing.assert_close(gradient, batch.target_weights.double() * slope)


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("sure", [0.0, -1e-38, -1e-30, -1e-7])
def test_a_token_that_is_certain_has_a_finite_gradient(gamma, sure):
    batch = batch_of(EXAMPLES)
    logps = torch.full((len(batch.targets),), sure, requires_grad=True)
    total = loss(gamma)(batch, logps).totals["focal"]
    (gradient,) = torch.autograd.grad(total, logps)
    assert bool(total.isfinite())
    assert bool(gradient.isfinite().all())


def test_metrics_say_what_became_of_the_tokens():
    batch = batch_of(EXAMPLES)
    logps = drawn(batch)
    metrics = loss(2.0)(batch, logps).metrics
    means = {name: float(total) / float(count) for name, (total, count) in metrics.items()}
    assert means["nll"] == pytest.approx(-float(logps.mean()))
    assert means["focal_weight"] == pytest.approx(float(((1 - logps.exp()) ** 2).mean()))
    assert means["confident"] == pytest.approx(float((logps.exp() > 0.5).double().mean()))
    assert 0 < means["confident"] < 1


@pytest.mark.parametrize("gamma", [-0.1, float("nan"), float("inf"), "much"])
def test_a_gamma_that_makes_no_sense_is_refused(gamma):
    with pytest.raises(ValidationError):
        FocalOptions(gamma=gamma)
