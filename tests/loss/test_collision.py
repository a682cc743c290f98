"""Collision probabilities, chunk by chunk, against the sum of squares of a float64 softmax."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from anima_core.contracts import Head
from anima_core.loss.collision import log_collision

TOKENS, HIDDEN, VOCAB = 23, 16, 131
CHUNKS = [(1024, 4096), (1, 4096), (7, 50), (1024, 1), (5, 131)]


def drawn(dtype: torch.dtype = torch.float32, *, spread: float = 1.0, **head: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, HIDDEN, generator=generator).to(dtype)
    weight = (torch.randn(VOCAB, HIDDEN, generator=generator) * spread).to(dtype)
    if head.pop("bias", False):
        head["bias"] = torch.randn(VOCAB, generator=generator).to(dtype)
    return hidden, Head(weight, **head)


def textbook(hidden: torch.Tensor, head: Head) -> torch.Tensor:
    logits = hidden.double() @ head.weight.double().T
    if head.bias is not None:
        logits = logits + head.bias.double()
    logits = head.scale * logits
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    return torch.softmax(logits, dim=-1).pow(2).sum(dim=-1).log()


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize(
    "head", [{}, {"bias": True}, {"softcap": 3.0}, {"scale": 0.25}, {"bias": True, "softcap": 2.0}]
)
def test_it_is_the_sum_of_squares(head: dict[str, Any], chunks: tuple[int, int]) -> None:
    hidden, output = drawn(**head)
    found = log_collision(hidden, output, chunk_tokens=chunks[0], chunk_vocab=chunks[1])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), textbook(hidden, output), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunks", CHUNKS)
def test_it_computes_as_exactly_as_its_states(chunks: tuple[int, int]) -> None:
    hidden, output = drawn(torch.float64, spread=3.0)
    found = log_collision(hidden, output, chunk_tokens=chunks[0], chunk_vocab=chunks[1])
    torch.testing.assert_close(found, textbook(hidden, output), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 50, 4096])
def test_logits_in_the_hundreds_and_masked_tokens_stay_finite(chunk: int) -> None:
    """One token alone gives 0; a chunk may hold nothing but tokens that cannot be said."""
    hidden, output = drawn(spread=60.0)
    bias = torch.zeros(VOCAB)
    bias[:60] = -torch.inf
    for head in (output, Head(output.weight, bias)):
        found = log_collision(hidden, head, chunk_vocab=chunk).double()
        torch.testing.assert_close(found, textbook(hidden, head), rtol=0, atol=1e-4)


def test_its_ends_are_every_token_alike_and_one_alone() -> None:
    hidden = torch.ones(2, 1)
    weight = torch.zeros(VOCAB, 1)
    alike = log_collision(hidden, Head(weight))
    torch.testing.assert_close(alike, -torch.full((2,), float(VOCAB)).log())
    weight[5] = 100.0
    assert torch.equal(log_collision(hidden, Head(weight)), torch.zeros(2))


def test_16_bit_states_meet_a_head_of_32_bits() -> None:
    hidden, output = drawn(torch.bfloat16)
    wide = Head(output.weight.float())
    found = log_collision(hidden, wide)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, log_collision(hidden, output))
    torch.testing.assert_close(found.double(), textbook(hidden, output), rtol=0, atol=0.1)


def test_it_has_no_gradient_and_changes_nothing() -> None:
    hidden, output = drawn(bias=True)
    kept = [hidden.clone(), output.weight.clone(), output.bias.clone()]
    for tensor in (hidden, output.weight, output.bias):
        tensor.requires_grad_()
    found = log_collision(hidden, output)
    assert not found.requires_grad
    now = [hidden, output.weight, output.bias]
    assert all(torch.equal(a, b) for a, b in zip(now, kept, strict=True))
    assert not log_collision(hidden[:0], output).numel()


def test_no_matrix_of_tokens_by_vocabulary_exists() -> None:
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal largest
            out: Any = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    hidden, head = torch.randn(900, 2), Head(torch.randn(1000, 2))
    with Watch():  # type: ignore[no-untyped-call]
        log_collision(hidden, head, chunk_tokens=100, chunk_vocab=64)
    assert largest == 100 * 64
