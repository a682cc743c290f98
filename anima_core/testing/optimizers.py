"""Checks of an optimizer: that it descends, decays what it should, and resumes exactly."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch

Factory = Callable[[Sequence[dict[str, object]]], torch.optim.Optimizer]


def check_optimizer(
    factory: Factory,
    *,
    steps: int = 40,
    tolerance: float = 1e-5,
    device: str = "cpu",
    seed: int = 0,
) -> None:
    """An optimizer minimises a quadratic, honours weight decay and continues from its state.

    1. ``|p - target|^2`` falls to less than half of itself.
    2. With gradients of 0, a group of weight decay w shrinks by ``1 - lr * w`` a step (decoupled
       decay: Loshchilov & Hutter 2019, eq. 9); a group of weight decay 0 stays as it is, and so
       does a parameter without a gradient. Each group keeps its own.
    3. The learning rate that a schedule writes into the groups is the one used: 0 moves nothing.
    4. A new optimizer that loads the `state_dict` goes on to the very same bits.

    The matrix has 5,120 elements, so that 8-bit optimizers quantise its state.

    Args:
        factory: makes an optimizer over groups of ``params`` and ``weight_decay``, with the
            learning rate that it would have in a run, e.g.
            ``lambda groups: strategy.optimizer(run_context(learning_rate=1e-2), groups)``.
        steps: how many steps to take.
        tolerance: largest relative difference in 2.
        device: where the parameters are.
        seed: of the quadratic.

    Raises:
        AssertionError: naming what went wrong.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = ((80, 64), (64,))
    target = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
    signs = [torch.randn(shape, generator=generator).sign().to(device) for shape in shapes]
    probe = factory(_groups(_parameters(target), 0.0))
    rates = [float(group["lr"]) for group in probe.param_groups]
    assert min(rates, default=0.0) > 0, f"the groups' learning rates are {rates}"
    # As far away as a sign-like optimizer walks in `steps` steps, whatever its learning rate.
    distance = 0.5 * steps * max(rates)
    start = [t + distance * s for t, s in zip(target, signs, strict=True)]

    _descends(factory, start, target, steps)
    _decays(factory, target, max(rates), tolerance)
    _stands_still(factory, start, target)
    _resumes(factory, start, target, steps)


def _parameters(values: Sequence[torch.Tensor]) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(value.clone()) for value in values]


def _groups(
    parameters: Sequence[torch.nn.Parameter], weight_decay: float
) -> list[dict[str, object]]:
    """As a run makes them: matrices decay, the rest does not."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _step(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[torch.nn.Parameter],
    target: Sequence[torch.Tensor],
) -> float:
    """One step down the quadratic; its value before the step."""
    optimizer.zero_grad()
    value = torch.stack(
        [((p - t) ** 2).sum() for p, t in zip(parameters, target, strict=True)]
    ).sum()
    value.backward()
    optimizer.step()
    return float(value.detach())


def _descends(
    factory: Factory, start: list[torch.Tensor], target: list[torch.Tensor], steps: int
) -> None:
    parameters = _parameters(start)
    optimizer = factory(_groups(parameters, 0.0))
    values = [_step(optimizer, parameters, target) for _ in range(steps)]
    assert values[-1] < 0.5 * values[0], (
        f"{steps} steps took the quadratic from {values[0]:.4g} to {values[-1]:.4g} only"
    )


def _decays(factory: Factory, values: list[torch.Tensor], rate: float, tolerance: float) -> None:
    parameters = _parameters([*values, values[1]])
    idle = parameters[2]
    steps, decay = 3, 0.01 / rate
    optimizer = factory(_groups(parameters, decay))
    for _ in range(steps):
        for parameter in parameters[:2]:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    matrix, vector = parameters[:2]
    expected = values[0] * (1 - 0.01) ** steps
    error = float((matrix.detach() - expected).abs().max() / expected.abs().max())
    assert error <= tolerance, (
        f"weight decay {decay:.3g} at learning rate {rate:.3g}: relative error {error:.3g} "
        f"against (1 - lr * w) ** {steps} times the start"
    )
    assert torch.equal(vector.detach(), values[1]), "a group of weight decay 0 was decayed"
    assert torch.equal(idle.detach(), values[1]), "a parameter without a gradient was changed"


def _stands_still(factory: Factory, start: list[torch.Tensor], target: list[torch.Tensor]) -> None:
    parameters = _parameters(start)
    optimizer = factory(_groups(parameters, 0.0))
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    _step(optimizer, parameters, target)
    for parameter, value in zip(parameters, start, strict=True):
        assert torch.equal(parameter.detach(), value), (
            "a learning rate of 0 in the groups still moves parameters: a schedule has no effect"
        )


def _resumes(
    factory: Factory, start: list[torch.Tensor], target: list[torch.Tensor], steps: int
) -> None:
    parameters = _parameters(start)
    optimizer = factory(_groups(parameters, 0.01))
    for _ in range(steps // 2):
        _step(optimizer, parameters, target)
    saved = copy.deepcopy(optimizer.state_dict())
    resumed = _parameters([p.detach() for p in parameters])
    other = factory(_groups(resumed, 0.01))
    other.load_state_dict(saved)
    for number in range(steps // 2):
        _step(optimizer, parameters, target)
        _step(other, resumed, target)
        for a, b in zip(parameters, resumed, strict=True):
            assert torch.equal(a, b), (
                f"step {number + 1} after a state_dict round trip differs from the undisturbed "
                f"one by {float((a - b).detach().abs().max()):.3g}"
            )
