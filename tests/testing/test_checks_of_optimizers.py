"""The optimizer check passes torch's own and names planted defects."""

from __future__ import annotations

import pytest
import torch

from anima_core.testing import check_optimizer


@pytest.mark.parametrize("rate", [1e-1, 1e-3, 1e-5])
def test_adamw_passes_whatever_its_learning_rate(rate):
    check_optimizer(lambda groups: torch.optim.AdamW(groups, lr=rate))


def test_gradient_descent_passes():
    check_optimizer(lambda groups: DecoupledSgd(groups, lr=0.1))


class DecoupledSgd(torch.optim.Optimizer):
    """The simplest optimizer with decoupled decay; the planted defects derive from it."""

    def __init__(self, groups, lr):
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, group)

    def update(self, p, group):
        p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * p.grad)


class Ascends(DecoupledSgd):
    def update(self, p, group):
        p.mul_(1 - group["lr"] * group["weight_decay"]).add_(group["lr"] * p.grad)


class NoDecay(DecoupledSgd):
    def update(self, p, group):
        p.sub_(group["lr"] * p.grad)


class OneDecayForAll(DecoupledSgd):
    def update(self, p, group):
        decay = self.param_groups[0]["weight_decay"]
        p.mul_(1 - group["lr"] * decay).sub_(group["lr"] * p.grad)


class DecayWithoutRate(DecoupledSgd):
    def update(self, p, group):
        p.mul_(1 - 0.001 * group["weight_decay"]).sub_(group["lr"] * p.grad)


class OwnRate(DecoupledSgd):
    def __init__(self, groups, lr):
        super().__init__(groups, lr)
        self.rate = lr

    def update(self, p, group):
        p.mul_(1 - self.rate * group["weight_decay"]).sub_(self.rate * p.grad)


class TouchesAll(DecoupledSgd):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
                p.sub_(1e-3 * group["lr"])
        super().step()


class Forgets(DecoupledSgd):
    """Momentum that its state_dict leaves out."""

    def update(self, p, group):
        if not hasattr(self, "momenta"):
            self.momenta = {}
        m = self.momenta.get(p, torch.zeros_like(p)) * 0.5 + p.grad
        self.momenta[p] = m
        p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * m)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Ascends, "took the quadratic from"),
        (NoDecay, "weight decay .* relative error"),
        (OneDecayForAll, "a group of weight decay 0 was decayed"),
        (DecayWithoutRate, "weight decay .* relative error"),
        (OwnRate, "a schedule has no effect"),
        (TouchesAll, "relative error|without a gradient was changed|decayed"),
        (Forgets, "step 1 after a state_dict round trip"),
    ],
)
def test_the_defect_is_named(kind, said):
    with pytest.raises(AssertionError, match=said):
        check_optimizer(lambda groups: kind(groups, lr=0.05))


def test_coupled_decay_is_not_decoupled():
    """Adam's L2 term is divided by its own size: every matrix entry would move by lr."""
    with pytest.raises(AssertionError, match="weight decay"):
        check_optimizer(lambda groups: torch.optim.Adam(groups, lr=1e-2))


def test_a_learning_rate_of_zero_is_refused():
    with pytest.raises(AssertionError, match="learning rates are"):
        check_optimizer(lambda groups: torch.optim.SGD(groups, lr=0.0))


def test_looser_where_asked():
    class Approximate(DecoupledSgd):
        def update(self, p, group):
            p.mul_(1 - 1.01 * group["lr"] * group["weight_decay"]).sub_(group["lr"] * p.grad)

    with pytest.raises(AssertionError, match="weight decay"):
        check_optimizer(lambda groups: Approximate(groups, lr=0.05))
    check_optimizer(lambda groups: Approximate(groups, lr=0.05), tolerance=1e-3)
