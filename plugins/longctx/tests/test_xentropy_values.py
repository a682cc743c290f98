"""`ChunkedLogps` against `torch.nn.functional.cross_entropy` in float64."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from anima_longctx.chunked_logps import ChunkedLogps
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from anima_core import Head

SMALL = ChunkedLogps(chunk_tokens=5, chunk_vocab=16)


def textbook(hidden, head, target):
    """Log-probs by the definition, in the dtype of what is given."""
    logits = hidden @ head.weight.T
    if head.bias is not None:
        logits = logits + head.bias
    logits = logits * head.scale
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    columns = target if target.ndim == 2 else target[:, None]
    picked = [
        -cross_entropy(logits, columns[:, k], reduction="none") for k in range(columns.shape[1])
    ]
    return torch.stack(picked, 1).view(target.shape)


def example(tokens=13, vocab=50, width=12, *, targets=None, bias=False, softcap=None, scale=1.0):
    """A seeded hidden, head, target and upstream gradient in float64."""
    gen = torch.Generator().manual_seed(tokens * 1000 + vocab)
    random = lambda *shape: torch.randn(*shape, generator=gen, dtype=torch.float64)  # noqa: E731
    head = Head(random(vocab, width), random(vocab) if bias else None, softcap, scale)
    shape = (tokens,) if targets is None else (tokens, targets)
    target = torch.randint(0, vocab, shape, generator=gen)
    return random(tokens, width), head, target, random(*shape)


def cast(head, dtype, *, trained):
    def one(tensor):
        return None if tensor is None else tensor.to(dtype).detach().clone().requires_grad_(trained)

    return dataclasses.replace(head, weight=one(head.weight), bias=one(head.bias))


def run(kernel, hidden, head, target, upstream, dtype, *, trained):
    """Values and every gradient of a kernel run in a dtype."""
    hidden = hidden.to(dtype).detach().clone().requires_grad_()
    head = cast(head, dtype, trained=trained)
    logps = kernel(hidden, head, target)
    logps.backward(upstream.to(logps.dtype))
    grads = {"hidden": hidden.grad, "weight": head.weight.grad}
    if head.bias is not None:
        grads["bias"] = head.bias.grad
    return logps.detach(), {name: grad for name, grad in grads.items() if grad is not None}


def distance(got, want):
    """Relative error in the L2 norm."""
    return float((got.double() - want).norm() / want.norm())


CASES = {
    "plain": {},
    "bias": {"bias": True},
    "softcap": {"softcap": 3.0},
    "scale": {"scale": 0.25},
    "all": {"bias": True, "softcap": 3.0, "scale": 1.5},
    "several": {"targets": 4},
    "several-all": {"targets": 3, "bias": True, "softcap": 3.0, "scale": 0.5},
    "one-token": {"tokens": 1},
    "two-entries": {"vocab": 2},
}


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_agree_with_cross_entropy_in_float64(case, trained):
    given_ = example(**CASES[case])
    want, want_grads = run(textbook, *given_, torch.float64, trained=trained)
    got, got_grads = run(SMALL, *given_, torch.float32, trained=trained)
    assert got.dtype == torch.float32
    assert distance(got, want) < 1e-5
    assert got_grads.keys() == want_grads.keys()
    for name, grad in got_grads.items():
        assert grad.dtype == torch.float32
        assert distance(grad, want_grads[name]) < 1e-5, name


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("targets", [None, 3])
def test_gradcheck_in_float64(targets, trained):
    hidden, head, target, _ = example(7, 11, 4, targets=targets, bias=True, softcap=2.0, scale=0.7)
    head = cast(head, torch.float64, trained=trained)
    kernel = ChunkedLogps(3, 4)

    def of(hidden, weight, bias):
        return kernel(hidden, dataclasses.replace(head, weight=weight, bias=bias), target)

    inputs = (hidden.requires_grad_(), head.weight, head.bias)
    assert kernel(hidden, head, target).dtype == torch.float64
    assert torch.autograd.gradcheck(of, inputs)


@pytest.mark.parametrize("only", ["weight", "bias"])
def test_only_what_requires_a_gradient_gets_one(only):
    hidden, head, target, upstream = example(bias=True)
    _, want = run(textbook, hidden, head, target, upstream, torch.float64, trained=True)
    head = cast(head, torch.float32, trained=False)
    getattr(head, only).requires_grad_()
    SMALL(hidden.float(), head, target).backward(upstream.float())
    assert distance(getattr(head, only).grad, want[only]) < 1e-5
    assert getattr(head, "bias" if only == "weight" else "weight").grad is None


def test_a_tied_head_gets_the_gradient_of_both_uses():
    hidden, head, target, upstream = example()
    ids = torch.arange(13) % 50
    tables = [
        head.weight.to(dtype).clone().requires_grad_() for dtype in (torch.float64, torch.float32)
    ]
    for kernel, table in zip((textbook, SMALL), tables, strict=True):
        mixed = torch.tanh(table[ids] + hidden.to(table.dtype))
        kernel(mixed, Head(table), target).backward(upstream.to(table.dtype))
    assert distance(tables[1].grad, tables[0].grad) < 1e-5


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(0, 9),
    vocab=st.integers(1, 40),
    width=st.integers(1, 6),
    targets=st.one_of(st.none(), st.integers(1, 3)),
    chunk_tokens=st.integers(1, 12),
    chunk_vocab=st.integers(1, 50),
    trained=st.booleans(),
)
def test_any_shape_in_any_chunks(tokens, vocab, width, targets, chunk_tokens, chunk_vocab, trained):
    given_ = example(tokens, vocab, width, targets=targets)
    want, want_grads = run(textbook, *given_, torch.float64, trained=trained)
    kernel = ChunkedLogps(chunk_tokens, chunk_vocab)
    got, got_grads = run(kernel, *given_, torch.float64, trained=trained)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(got_grads, want_grads)


def test_a_nearly_certain_target_keeps_its_digits():
    """Where p is near 1, log p and 1 - p lose their digits to cancellation in float32."""
    hidden, head, target, upstream = example(40, 50)
    hidden = 0.1 * hidden + 2.5 * head.weight[target]
    want, want_grads = run(textbook, hidden, head, target, upstream, torch.float64, trained=False)
    got, got_grads = run(SMALL, hidden, head, target, upstream, torch.float32, trained=False)
    assert want.median() > -1e-4
    torch.testing.assert_close(got.double(), want, rtol=3e-5, atol=1e-12)
    assert distance(got_grads["hidden"], want_grads["hidden"]) < 1e-5


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("targets", [None, 2])
def test_bfloat16_is_no_further_from_the_truth_than_torch(targets, trained):
    hidden, head, target, upstream = example(64, 400, 32, targets=targets)
    hidden = hidden.bfloat16().double()
    head = Head((0.2 * head.weight).bfloat16().double())
    upstream = upstream.bfloat16().double()

    def by_torch(hidden, head, target):
        logits = hidden @ head.weight.T
        columns = target if target.ndim == 2 else target[:, None]
        return torch.log_softmax(logits, -1).gather(1, columns).view(target.shape)

    given_ = (hidden, head, target, upstream)
    want, want_grads = run(textbook, *given_, torch.float64, trained=trained)
    theirs, their_grads = run(by_torch, *given_, torch.bfloat16, trained=trained)
    ours, our_grads = run(ChunkedLogps(16, 100), *given_, torch.bfloat16, trained=trained)
    assert ours.dtype == torch.float32
    assert distance(ours, want) <= distance(theirs, want)
    for name, grad in our_grads.items():
        assert grad.dtype == torch.bfloat16
        assert distance(grad, want_grads[name]) <= distance(their_grads[name], want_grads[name])
