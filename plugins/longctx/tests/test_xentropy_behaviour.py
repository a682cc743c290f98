"""`ChunkedLogps`: memory, autocast, modes and errors."""

from __future__ import annotations

import pytest
import torch
from anima_longctx.chunked_logps import ChunkedLogps
from anima_longctx.chunks import even_width, spans
from anima_longctx.xentropy import Xentropy, XentropyOptions
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from anima_core import Head, MemoryShape
from anima_core.testing import run_context


class Largest(TorchDispatchMode):
    """Records the most elements of any tensor that an operation returns, its inputs aside."""

    def __init__(self, *inputs):
        super().__init__()
        self.storages = {tensor.untyped_storage().data_ptr() for tensor in inputs}
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if not isinstance(leaf, torch.Tensor) or leaf.numel() == 0:
                continue
            storage = leaf.untyped_storage()
            if storage.data_ptr() not in self.storages:
                self.numel = max(self.numel, storage.nbytes() // leaf.itemsize)
        return result


def example(tokens=40, vocab=300, width=8, *, trained=False, targets=None):
    gen = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=gen).requires_grad_()
    weight = torch.randn(vocab, width, generator=gen).requires_grad_(trained)
    shape = (tokens,) if targets is None else (tokens, targets)
    return hidden, Head(weight), torch.randint(0, vocab, shape, generator=gen)


@pytest.mark.parametrize("kernel", [ChunkedLogps(), ChunkedLogps(16, 64)])
@pytest.mark.parametrize("targets", [None, 2])
@pytest.mark.parametrize("trained", [False, True])
def test_the_logits_of_all_tokens_are_never_one_tensor(trained, targets, kernel):
    hidden, head, target = example(trained=trained, targets=targets)
    with Largest(hidden, head.weight) as largest:
        kernel(hidden, head, target).sum().backward()
    everything = hidden.shape[0] * head.weight.shape[0]
    assert 0 < largest.numel < everything
    if kernel.chunk_vocab == 64:
        assert largest.numel <= max(16 * 64, head.weight.numel())


def test_the_recorder_sees_a_whole_matrix_of_logits():
    hidden, head, _ = example()
    with Largest(hidden, head.weight) as largest:
        hidden @ head.weight.T
    assert largest.numel == 40 * 300


def test_no_grad_keeps_nothing():
    hidden, head, target = example()
    want = ChunkedLogps()(hidden, head, target)
    with torch.no_grad():
        got = ChunkedLogps()(hidden, head, target)
    assert want.grad_fn is not None
    assert got.grad_fn is None
    torch.testing.assert_close(got, want.detach(), rtol=0, atol=0)


def test_a_frozen_head_keeps_one_vector_a_token_for_the_backward_pass():
    hidden, head, target = example()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.numel()) or t, lambda t: t
    ):
        ChunkedLogps()(hidden, head, target)
    assert kept == [hidden.numel()]


@pytest.mark.parametrize("trained", [False, True])
def test_autocast_sets_the_dtype_of_the_products_alone(trained):
    hidden, head, target = example(trained=trained)
    half = Head(head.weight.detach().bfloat16())
    want = ChunkedLogps()(hidden.detach().bfloat16(), half, target)
    with torch.autocast("cpu", torch.bfloat16):
        got = ChunkedLogps()(hidden, head, target)
        got.sum().backward()
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.detach(), want, rtol=1e-2, atol=1e-2)
    assert hidden.grad.dtype == torch.float32
    if trained:
        assert head.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("trained", [False, True])
def test_second_order_gradients_are_refused(trained):
    hidden, head, target = example(trained=trained)
    total = ChunkedLogps()(hidden, head, target).sum()
    with pytest.raises(RuntimeError, match="no gradients of second order"):
        torch.autograd.grad(total, hidden, create_graph=True)


def test_no_tokens_give_nothing_and_gradients_of_zero():
    for trained in (False, True):
        hidden, head, target = example(0, trained=trained)
        logps = ChunkedLogps()(hidden, head, target)
        assert logps.shape == (0,)
        logps.sum().backward()
        assert hidden.grad.shape == (0, 8)
        assert not trained or not head.weight.grad.any()


@pytest.mark.parametrize("bad", [-1, -100, 300])
def test_a_target_outside_of_the_vocabulary_is_named(bad):
    hidden, head, target = example()
    target[3] = bad
    with pytest.raises(IndexError, match=f"target id {bad} is out of range: the head has 300"):
        ChunkedLogps()(hidden, head, target)


def test_targets_must_fit_the_tokens():
    hidden, head, target = example()
    with pytest.raises(ValueError, match="N = 40"):
        ChunkedLogps()(hidden, head, target[:-1])


def test_a_broken_hidden_state_shows():
    hidden, head, target = example()
    with torch.no_grad():
        hidden[2] = float("nan")
    assert ChunkedLogps()(hidden, head, target).isnan().tolist() == [i == 2 for i in range(40)]


def test_the_vocabulary_is_cut_evenly_and_into_two_at_least():
    assert even_width(49152, 4096) == 4096
    assert even_width(49153, 4096) == 3781
    assert even_width(100, 4096) == 50
    assert even_width(1, 4096) == 1
    assert [(s.start, s.stop) for s in spans(5, 2)] == [(0, 2), (2, 4), (4, 5)]


def test_the_strategy_hands_its_options_to_the_kernel_and_estimates_one_chunk():
    strategy = Xentropy(XentropyOptions(chunk_tokens=32, chunk_vocab=64))
    assert strategy.token_logps(run_context()) == ChunkedLogps(32, 64)
    shape = MemoryShape(
        parameters=1, linear_parameters=1, linear_shapes=(), layers=2, hidden=8, intermediate=16,
        vocab=6400, micro_tokens=1000,
    )  # fmt: skip
    assert strategy.estimate_memory(run_context(), shape) == {
        "logits": 32 * 64 * 4 + 1000 * 8 * 4 + 64 * 8 * 4
    }
