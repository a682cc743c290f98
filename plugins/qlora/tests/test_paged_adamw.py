from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from anima_qlora.paged_adamw import PagedAdamW, PagedAdamWOptions

from anima_core.testing import check_optimizer, run_context


def make(parameters: list[torch.nn.Parameter], bits: int, decay: float = 0.0, **core: Any) -> Any:
    run = run_context(**{"learning_rate": 1e-2, **core})
    groups = [{"params": parameters, "weight_decay": decay}]
    return PagedAdamW(PagedAdamWOptions(bits=bits)).optimizer(run, groups)


def problem(seed: int = 0) -> tuple[torch.nn.Parameter, torch.nn.Parameter, torch.Tensor]:
    """Least squares with a matrix whose state is kept in 8 bits and a vector whose is not."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.nn.Parameter(torch.randn(64, 80, generator=generator) * 0.1)
    bias = torch.nn.Parameter(torch.zeros(64))
    return weight, bias, torch.randn(200, 80, generator=generator)


def descend(optimizer: Any, weight: Any, bias: Any, x: torch.Tensor, steps: int) -> list[float]:
    target = x @ torch.ones(80, 64) * 0.2 + 1.0
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = ((x @ weight.T + bias - target) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("bits", [8, 32])
def test_it_is_a_sound_optimizer(bits: int) -> None:
    strategy = PagedAdamW(PagedAdamWOptions(bits=bits))
    check_optimizer(lambda groups: strategy.optimizer(run_context(learning_rate=1e-2), groups))


@pytest.mark.parametrize(("bits", "tolerance"), [(32, 1e-5), (8, 0.05)])
def test_it_follows_torchs_adamw(bits: int, tolerance: float) -> None:
    weight, bias, x = problem()
    start = weight.detach().clone()
    other, other_bias = torch.nn.Parameter(start.clone()), torch.nn.Parameter(torch.zeros(64))
    descend(make([weight, bias], bits, decay=0.1), weight, bias, x, 30)
    reference = torch.optim.AdamW([other, other_bias], lr=1e-2, weight_decay=0.1, eps=1e-8)
    descend(reference, other, other_bias, x, 30)
    moved = (other.detach() - start).norm()
    assert (weight.detach() - other.detach()).norm() / moved < tolerance
    assert torch.allclose(bias, other_bias, atol=1e-2 if bits == 8 else 1e-5)


@pytest.mark.parametrize("bits", [8, 32])
def test_it_converges(bits: int) -> None:
    weight, bias, x = problem()
    losses = descend(make([weight, bias], bits), weight, bias, x, 150)
    assert losses[-1] < 0.01 * losses[0]


def test_large_tensors_have_8_bit_state_and_small_ones_32() -> None:
    weight, bias, x = problem()
    optimizer = make([weight, bias], 8)
    descend(optimizer, weight, bias, x, 1)
    assert optimizer.state[weight]["state1"].dtype == torch.uint8
    assert optimizer.state[bias]["state1"].dtype == torch.float32


@pytest.mark.parametrize("bits", [8, 32])
def test_its_state_goes_round_bit_for_bit(bits: int) -> None:
    weight, bias, x = problem()
    optimizer = make([weight, bias], bits)
    descend(optimizer, weight, bias, x, 5)
    copies = [torch.nn.Parameter(p.detach().clone()) for p in (weight, bias)]
    other = make(copies, bits)
    other.load_state_dict(optimizer.state_dict())
    for mine, theirs in zip(optimizer.state.values(), other.state.values(), strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            same = (
                torch.equal(value, theirs[name])
                if torch.is_tensor(value)
                else value == theirs[name]
            )
            assert same, name
    assert descend(optimizer, weight, bias, x, 5) == descend(other, *copies, x, 5)
    assert torch.equal(weight, copies[0])


def test_options_reach_the_optimizer() -> None:
    weight, _, _ = problem()
    run = run_context(learning_rate=3e-4)
    options = PagedAdamWOptions(beta1=0.8, beta2=0.95, eps=1e-6)
    groups = [{"params": [weight], "weight_decay": 0.2}]
    (group,) = PagedAdamW(options).optimizer(run, groups).param_groups
    assert (group["lr"], group["eps"], group["weight_decay"]) == (3e-4, 1e-6, 0.2)
    assert tuple(group["betas"]) == (0.8, 0.95)


def test_on_a_cpu_nothing_is_paged_and_one_note_says_so() -> None:
    for bits in (8, 32):
        found = PagedAdamW(PagedAdamWOptions(bits=bits)).validate(run_context())
        assert [(p.where, p.level) for p in found] == [("--paged-adamw", "note")]
        assert "CUDA only" in found[0].what
        assert f"{bits}-bit" in found[0].what
    assert PagedAdamW(PagedAdamWOptions()).validate(run_context(device="cuda:0")) == []


def test_8_bits_are_refused_where_there_is_no_kernel() -> None:
    (found,) = PagedAdamW(PagedAdamWOptions()).validate(run_context(device="mps"))
    assert (found.where, found.level) == ("--paged-adamw.bits", "error")
    (note,) = PagedAdamW(PagedAdamWOptions(bits=32)).validate(run_context(device="mps"))
    assert note.level == "note"


def test_bitsandbytes_does_not_warn() -> None:
    weight, bias, x = problem()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bits in (8, 32):
            descend(make([weight, bias], bits), weight, bias, x, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("bits", [8, 32])
def test_on_cuda_large_state_is_paged(bits: int) -> None:
    parameter = torch.nn.Parameter(torch.randn(512, 512, device="cuda"))
    optimizer = make([parameter], bits, device="cuda")
    parameter.grad = torch.ones_like(parameter)
    before = parameter.detach().clone()
    optimizer.step()
    assert optimizer.state[parameter]["state1"].is_paged
    assert torch.isfinite(parameter).all()
    assert not torch.equal(parameter, before)
