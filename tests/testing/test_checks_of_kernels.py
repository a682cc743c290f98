"""The kernel check passes the textbook and names what is wrong elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from anima_core.testing import check_token_logps


def by_cross_entropy(hidden, head, target):
    """Right, and written in another way than the check's own reference."""
    logits = F.linear(hidden, head.weight).float()
    if head.bias is not None:
        logits = logits + head.bias
    logits = logits * head.scale
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    columns = target[:, None] if target.ndim == 1 else target
    values = [-F.cross_entropy(logits, column, reduction="none") for column in columns.T]
    return torch.stack(values, 1).reshape(target.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_right_kernel_passes(dtype):
    check_token_logps(by_cross_entropy, dtype=dtype)


def changed(**replaced):
    """The right kernel, given another head than it should be."""
    return lambda hidden, head, target: by_cross_entropy(hidden, replace(head, **replaced), target)


def no_k(hidden, head, target):
    return by_cross_entropy(hidden, head, target if target.ndim == 1 else target[:, 0])


def overflows(hidden, head, target):
    if head.bias is not None or head.softcap or head.scale != 1 or target.ndim == 2:
        return by_cross_entropy(hidden, head, target)
    exps = torch.exp(hidden @ head.weight.T)
    return torch.log(exps.gather(1, target[:, None])[:, 0] / exps.sum(1))


def drops_last_chunk(hidden, head, target):
    size = max(len(hidden) // 8, 1)
    whole = len(hidden) // size * size if len(hidden) > 1000 else len(hidden)
    logps = by_cross_entropy(hidden, head, target)
    return torch.cat([logps[:whole], logps[whole:] * 0 - 3])


def detached_head(hidden, head, target):
    return by_cross_entropy(hidden, replace(head, weight=head.weight.detach()), target)


def detached(hidden, head, target):
    return by_cross_entropy(hidden.detach(), head, target).detach()


def in_double(hidden, head, target):
    return by_cross_entropy(hidden, head, target).double()


def refuses_nothing(hidden, head, target):
    assert len(hidden), "the kernel cannot do without tokens"
    return by_cross_entropy(hidden, head, target)


def writes_into_inputs(hidden, head, target):
    with torch.no_grad():
        head.weight.mul_(2)
        out = by_cross_entropy(hidden, head, target)
    return out if not torch.is_grad_enabled() else by_cross_entropy(hidden, head, target)


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


def twice_the_gradient(hidden, head, target):
    return by_cross_entropy(_Double.apply(hidden), head, target)


def ignores_upstream(hidden, head, target):
    class Sum(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return torch.ones_like(grad)

    return Sum.apply(by_cross_entropy(hidden, head, target))


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (changed(bias=None), "a head with a bias: log-probs"),
        (changed(softcap=None), "a soft-capped head: log-probs"),
        (changed(scale=1.0), "a scaled head: log-probs"),
        (no_k, r"\[N, K\] targets: returned \(67,\)"),
        (overflows, "logits in the hundreds: log-probs"),
        (drops_last_chunk, "more tokens than any chunk divides: log-probs"),
        (detached_head, "no gradient reaches the weight"),
        (detached, "not differentiable"),
        (in_double, "returned torch.float64, not float32"),
        (refuses_nothing, "cannot do without tokens"),
        (writes_into_inputs, "changed its inputs"),
        (twice_the_gradient, "a plain head: gradient by hidden states"),
        (ignores_upstream, "a plain head: gradient by"),
    ],
)
def test_the_defect_is_named(kernel, said):
    with pytest.raises(AssertionError, match=said):
        check_token_logps(kernel)


def test_a_kernel_that_rounds_more_than_bfloat16_does_is_found():
    def rounds(hidden, head, target):
        error = head.weight.detach().to(torch.float8_e4m3fn).to(head.weight.dtype) - head.weight
        return by_cross_entropy(hidden, replace(head, weight=head.weight + error.detach()), target)

    with pytest.raises(AssertionError, match="log-probs: relative error"):
        check_token_logps(rounds, dtype=torch.bfloat16)
