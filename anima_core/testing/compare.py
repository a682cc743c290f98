"""A model's answers, gathered to be compared."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

LENGTH = 12
"""Tokens in the sequence that `logits` is asked about."""


def logits(model: Any, seed: int = 0) -> torch.Tensor:
    """The logits of one random sequence, in evaluation mode and without gradients.

    Args:
        model: a causal language model, or what an adapter calls instead of it.
        seed: of the sequence.

    Returns:
        ``[12, V]`` float32 on the CPU.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            out = model(input_ids=_ids(model, seed), use_cache=False).logits[0]
    finally:
        model.train(training)
    found: torch.Tensor = out.detach().float().cpu()
    return found


def gradients(model: Any, seed: int = 0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The logits of one random sequence, and the gradients of a random projection of them.

    Args:
        model: as for `logits`; left in the mode it is in.
        seed: of sequence and projection.

    Returns:
        ``[12, V]`` float32, and a gradient for every trainable parameter that one reaches.
    """
    out = model(input_ids=_ids(model, seed), use_cache=False).logits[0]
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(out.shape, generator=generator).to(out)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad((out * direction).sum(), list(trained.values()), allow_unused=True)
    reached = {
        n: g.detach().float().cpu() for n, g in zip(trained, found, strict=True) if g is not None
    }
    return out.detach().float().cpu(), reached


def error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, relative to the largest entry; infinite for other shapes or a NaN."""
    if got.shape != expected.shape:
        return float("inf")
    if not expected.numel():
        return 0.0
    scale = expected.abs().max().clamp_min(1e-8)
    return float(((got - expected).abs().max() / scale).nan_to_num(float("inf")))


def distance(got: torch.Tensor, expected: torch.Tensor) -> float:
    """The norm of the difference, relative to the norm; infinite for other shapes or a NaN."""
    if got.shape != expected.shape:
        return float("inf")
    return float(((got - expected).norm() / expected.norm()).nan_to_num(float("inf")))


def perturb(parameters: Any, seed: int = 0, size: float = 0.05) -> None:
    """Move every parameter by normal noise, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise.to(parameter), alpha=size)


def _ids(model: Any, seed: int) -> torch.Tensor:
    inner: PreTrainedModel = model
    generator = torch.Generator().manual_seed(seed)
    vocab = int(inner.config.get_text_config().vocab_size)
    device = next(inner.parameters()).device
    return torch.randint(vocab, (1, LENGTH), generator=generator).to(device)
