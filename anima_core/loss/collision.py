"""How spread out the model's choice is at each target's place: log-probs of a collision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from anima_core.loss.plain import logits_of

if TYPE_CHECKING:
    from anima_core.batch import Batch
    from anima_core.contracts import Head, Loss, LossOutput


def log_collision(
    hidden: torch.Tensor, head: Head, *, chunk_tokens: int = 1024, chunk_vocab: int = 4096
) -> torch.Tensor:
    """The logarithm of the chance that two draws at a place are the same token.

    That chance is the collision probability of the model's distribution there. With z the logits
    and p their softmax::

        log sum over v of p_v^2  =  logsumexp(2 z) - 2 logsumexp(z)

    It comes from the hidden states whatever kernel made the log-probs, without a gradient, and a
    matrix of tokens x vocabulary never exists: m = max z, the sum of exp(z - m) and that of
    exp(2 (z - m)) are carried from chunk to chunk of the vocabulary, scaled anew where m rises.

    Args:
        hidden: the states that predict the targets, ``[S, H]``, any floating dtype.
        head: the output projection.
        chunk_tokens, chunk_vocab: most tokens and vocabulary entries in a chunk.

    Returns:
        ``[S]`` float32 (float64 for float64), from -log V (every token alike) to 0 (one alone).
    """
    hidden = hidden.detach()
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    top = hidden.new_full((len(hidden),), torch.finfo(dtype).min, dtype=dtype)
    once, twice = torch.zeros_like(top), torch.zeros_like(top)
    with torch.no_grad():
        for start in range(0, head.weight.shape[0], chunk_vocab):
            part = _rows(head, slice(start, start + chunk_vocab), hidden.dtype)
            for first in range(0, len(hidden), chunk_tokens):
                at = slice(first, first + chunk_tokens)
                logits = logits_of(hidden[at], part)
                highest = torch.maximum(top[at], logits.amax(dim=-1))
                fade = (top[at] - highest).exp()
                shares = logits.sub_(highest[:, None]).exp_()
                once[at] = once[at] * fade + shares.sum(dim=-1)
                twice[at] = twice[at] * fade.square() + shares.square_().sum(dim=-1)
                top[at] = highest
        return twice.log() - 2 * once.log()


def call_loss(
    loss: Loss,
    batch: Batch,
    values: torch.Tensor,
    reference: torch.Tensor | None,
    collision: torch.Tensor | None,
) -> LossOutput:
    """Call a loss with what it asked for.

    Args:
        loss: the loss.
        batch: the examples.
        values: log-probs, or hidden states.
        reference: the reference's log-probs, ``[S]``, or None.
        collision: what `log_collision` gives, ``[S]``, for a loss that says ``collision = True``;
            any other is called without the word.
    """
    called: Any = loss
    more = {} if collision is None else {"collision": collision}
    output: LossOutput = called(batch, values, reference, **more)
    return output


def _rows(head: Head, rows: slice, dtype: torch.dtype) -> Head:
    """The head of a part of the vocabulary."""
    bias = head.bias[rows] if head.bias is not None else None
    return replace(head, weight=head.weight[rows].to(dtype), bias=bias)
