"""Log-probs of one target a token under a frozen head (LoRA, QLoRA), with their derivatives.

The derivative of one log-prob by its hidden state is a vector that the upstream gradient only
scales. So it is computed on the way forward, and the backward pass is one elementwise product:
two vocabulary products in all, the least possible, and no logits computed twice.

With z the logits, z' the slope of their cap, t the target, L = logsumexp of z over all v but t::

    logp      = z_t - log(e^z_t + e^L) = -softplus(L - z_t) ,   1 - p_t = -expm1(logp)
    p_v       = e^{z_v - L} (1 - p_t)  for every v but t
    dlogp/dh  = scale (1 - p_t) (z'_t W_t - sum_{v != t} e^{z_v - L} z'_v W_v)

The last sum is the mean of W under the softmax without t. It is kept with a running maximum
(Milakov & Gimelshein 2018, arXiv:1805.02867; FlashAttention, arXiv:2205.14135, algorithm 1).
Leaving t out keeps the digits of logp and of 1 - p_t that cancellation eats when p_t is near 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anima_longctx.logit_chunks import LogitChunks, add_product, local_index, refuse_second_order


class FrozenHeadLogps(torch.autograd.Function):
    """``apply(hidden [N, H], target [N], chunks)`` gives log-probs ``[N]``.

    Keeps ``[N, H]`` in the wide dtype for the backward pass, and neither hidden nor weights.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, target: Tensor, chunks: LogitChunks) -> Tensor:
        """Values and derivatives."""
        logps, derivatives = single_target(chunks, hidden, target, derivatives=True)
        ctx.save_for_backward(derivatives)
        ctx.dtype = hidden.dtype
        return logps

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        """The derivatives, scaled."""
        refuse_second_order()
        (derivatives,) = ctx.saved_tensors
        return (derivatives * upstream[:, None]).to(ctx.dtype), None, None


def single_target(
    chunks: LogitChunks, hidden: Tensor, target: Tensor, *, derivatives: bool
) -> tuple[Tensor, Tensor]:
    """Log-probs of targets and, where asked for, their derivatives by hidden.

    Args:
        chunks: the head.
        hidden: ``[N, H]``.
        target: ``[N]`` int64.
        derivatives: whether to compute them.

    Returns:
        ``[N]`` and ``[N, H]`` (or ``[0]``), both in the wide dtype.
    """
    logps = hidden.new_empty(target.shape, dtype=chunks.wide)
    grads = hidden.new_empty(hidden.shape if derivatives else (0,), dtype=chunks.wide)
    for part in chunks.tokens(hidden.shape[0]):
        mean = grads[part].zero_() if derivatives else None
        logps[part] = _chunk(chunks, hidden[part].to(chunks.compute), target[part], mean)
    return logps, grads


def _chunk(chunks: LogitChunks, rows: Tensor, target: Tensor, mean: Tensor | None) -> Tensor:
    """Log-probs of one chunk of tokens; `mean` (zeros ``[C, H]``) becomes their derivatives."""
    own_weight = chunks.head.weight.detach()[target].to(chunks.wide)
    bias = chunks.head.bias
    product = (rows.to(chunks.wide) * own_weight).sum(-1)
    own = chunks.finish(product, None if bias is None else bias[target])

    top = torch.full_like(own, torch.finfo(chunks.wide).min)
    total = torch.zeros_like(own)
    for entries, weight in chunks.vocabulary():
        others = _leave_out(chunks.logits(rows, entries, weight), target - entries.start)
        slope = chunks.slope(others) if mean is not None else None
        higher = torch.maximum(top, others.amax(1))
        shrink = (top - higher).exp_()
        others.sub_(higher[:, None]).exp_()
        total.mul_(shrink).add_(others.sum(1))
        if mean is not None:
            if slope is not None:
                others = torch.where(others > 0, others * slope, 0)
            add_product(mean.mul_(shrink[:, None]), others.to(chunks.compute), weight)
        top = higher

    logps = -torch.nn.functional.softplus(top + total.log() - own)
    if mean is not None:
        mean /= total.clamp_min(torch.finfo(chunks.wide).tiny)[:, None]
        own_slope = chunks.slope(own)
        if own_slope is not None:
            own_weight = own_weight * own_slope[:, None]
        factor = -torch.expm1(logps) * chunks.head.scale
        torch.sub(own_weight, mean, out=mean).mul_(factor[:, None])
    return logps


def _leave_out(logits: Tensor, target: Tensor) -> Tensor:
    """Logits ``[C, W]`` with each row's target set to -inf where it lies in the chunk, in place."""
    index, inside = local_index(target[:, None], logits.shape[1])
    kept = logits.gather(1, index)
    return logits.scatter_(1, index, torch.where(inside, float("-inf"), kept))
