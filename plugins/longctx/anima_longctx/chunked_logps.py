"""The kernel of ``xentropy``: log-probs of targets, one chunk of logits at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anima_core import Head
from anima_longctx.frozen_head import FrozenHeadLogps, single_target
from anima_longctx.logit_chunks import LogitChunks
from anima_longctx.trained_head import RecomputedLogps, several_targets


@dataclass(frozen=True)
class ChunkedLogps:
    """An `anima_core.TokenLogps` that never holds the logits of all tokens.

    Matrix products are in hidden's dtype, or in autocast's where that is on; logits are widened
    and summed in float32 (float64 for float64). Gradients are exact; those of second order are
    not supported, and a backward pass with ``create_graph=True`` raises.

    Attributes:
        chunk_tokens: most tokens in a chunk.
        chunk_vocab: most vocabulary entries in a chunk.
    """

    chunk_tokens: int = 1024
    chunk_vocab: int = 4096

    def __call__(self, hidden: Tensor, head: Head, target: Tensor) -> Tensor:
        """Log-probs of targets.

        Args:
            hidden: ``[N, H]``, any floating dtype.
            head: the output projection, ``weight [V, H]``, ``bias [V]`` or None.
            target: ``[N]`` or ``[N, K]`` int64, each in ``0 … V-1``.

        Returns:
            float32 of target's shape (float64 for float64 input, so that a gradient can be
            checked), differentiable once by hidden, weight and bias.

        Raises:
            IndexError: a target is outside of the vocabulary.
            ValueError: target's shape does not fit hidden's.
        """
        _check(hidden, head, target)
        device = hidden.device.type
        compute = hidden.dtype
        if torch.is_autocast_enabled(device):
            compute = torch.get_autocast_dtype(device)
        chunks = LogitChunks(head, self.chunk_tokens, self.chunk_vocab, compute)
        with torch.autocast(device, enabled=False):
            return _logps(chunks, hidden, target)


def _logps(chunks: LogitChunks, hidden: Tensor, target: Tensor) -> Tensor:
    """The cheapest way to what is asked for."""
    weight, bias = chunks.head.weight, chunks.head.bias
    trained = weight.requires_grad or (bias is not None and bias.requires_grad)
    differentiable = torch.is_grad_enabled() and (trained or hidden.requires_grad)
    result: Tensor
    if target.ndim == 1 and not (differentiable and trained):
        if differentiable:
            result = FrozenHeadLogps.apply(hidden, target, chunks)  # type: ignore[no-untyped-call]
        else:
            result = single_target(chunks, hidden, target, derivatives=False)[0]
        return result
    columns = target if target.ndim == 2 else target[:, None]
    if differentiable:
        result = RecomputedLogps.apply(  # type: ignore[no-untyped-call]
            hidden, weight, bias, columns, chunks
        )
    else:
        own, normaliser = several_targets(chunks, hidden, columns)
        result = own - normaliser[:, None]
    return result.view(target.shape)


def _check(hidden: Tensor, head: Head, target: Tensor) -> None:
    if target.ndim not in (1, 2) or target.shape[0] != hidden.shape[0]:
        raise ValueError(
            f"targets must be [N] or [N, K] with N = {hidden.shape[0]}, not {list(target.shape)}"
        )
    if target.numel() == 0:
        return
    vocab = head.weight.shape[0]
    low, high = (int(bound) for bound in torch.aminmax(target))
    if low < 0 or high >= vocab:
        raise IndexError(
            f"target id {low if low < 0 else high} is out of range: the head has {vocab} entries, "
            f"0 to {vocab - 1}"
        )
