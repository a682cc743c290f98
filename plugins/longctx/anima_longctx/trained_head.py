"""Log-probs of any number of targets a token, with gradients for hidden, weight and bias.

The forward pass keeps logsumexp per token; the backward pass computes each chunk of logits again
(as Cut Cross-Entropy does, Wijmans et al. 2024, arXiv:2411.09009, §4). With x the product
``hidden @ weight.T + bias``, z its logits, z' their slope by x, g_k the upstream gradients::

    logp_k = z_{t_k} - log sum_v e^{z_v} ,   so   dlogp_k/dz_v = [v = t_k] - p_v
    dx_v   = z'_v (sum_k g_k [v = t_k] - p_v sum_k g_k)
    dh     = dx W ,   dW = dx^T h ,   db = sum of dx over tokens

The targets' own terms, which are most of the gradient, are summed in float32 apart from the matrix
product: in 16 bits the product of each chunk is rounded, and so only the small rest is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from anima_longctx.chunks import spans
from anima_longctx.logit_chunks import LogitChunks, add_product, local_index, refuse_second_order


class RecomputedLogps(torch.autograd.Function):
    """``apply(hidden [N, H], weight, bias, target [N, K], chunks)`` gives log-probs ``[N, K]``."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        chunks: LogitChunks,
    ) -> Tensor:
        """Values; hidden, the head and a few numbers per token are kept."""
        own, normaliser = several_targets(chunks, hidden, target)
        ctx.save_for_backward(hidden, weight, bias, target, own, normaliser)
        ctx.chunks = chunks
        return own - normaliser[:, None]

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients, each where it is wanted."""
        refuse_second_order()
        hidden, weight, bias, target, own, normaliser = ctx.saved_tensors
        chunks = replace(ctx.chunks, head=replace(ctx.chunks.head, weight=weight, bias=bias))
        with torch.autocast(hidden.device.type, enabled=False):
            upstream = upstream.to(chunks.wide)
            share = _target_gradients(chunks, target, own, normaliser, upstream)
            sums = _Sums(chunks, hidden, target, share, normaliser, upstream.sum(1))
            gradients = sums.gradients(ctx.needs_input_grad[:3])
        return (*gradients, None, None)


def several_targets(chunks: LogitChunks, hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The targets' logits and the normalisers; a log-prob is their difference.

    Args:
        chunks: the head.
        hidden: ``[N, H]``.
        target: ``[N, K]`` int64.

    Returns:
        logits ``[N, K]`` and logsumexp of all logits ``[N]``, both in the wide dtype.
    """
    own = hidden.new_zeros(target.shape, dtype=chunks.wide)
    normaliser = hidden.new_full(hidden.shape[:1], float("-inf"), dtype=chunks.wide)
    for part in chunks.tokens(hidden.shape[0]):
        rows = hidden[part].to(chunks.compute)
        for entries, weight in chunks.vocabulary():
            logits = chunks.logits(rows, entries, weight)
            index, inside = local_index(target[part] - entries.start, logits.shape[1])
            own[part] += torch.where(inside, logits.gather(1, index), 0)
            normaliser[part] = torch.logaddexp(normaliser[part], torch.logsumexp(logits, 1))
    return own, normaliser


def _target_gradients(
    chunks: LogitChunks, target: Tensor, own: Tensor, normaliser: Tensor, upstream: Tensor
) -> Tensor:
    """The gradient ``[N, K]`` by each target's x. A target named m times has m equal shares."""
    named = (target[:, :, None] == target[:, None, :]).sum(-1)
    probability = (own - normaliser[:, None]).exp()
    gradient = upstream - probability * upstream.sum(1, keepdim=True) / named
    slope = chunks.slope(own)
    return (gradient if slope is None else gradient * slope) * chunks.head.scale


@dataclass
class _Sums:
    """The sums of the backward pass.

    Attributes:
        chunks: the head.
        hidden: ``[N, H]``.
        target: ``[N, K]``.
        share: the gradient by each target's x, ``[N, K]``.
        normaliser: logsumexp ``[N]``.
        upstream: the upstream gradients of each token, summed, ``[N]``.
    """

    chunks: LogitChunks
    hidden: Tensor
    target: Tensor
    share: Tensor
    normaliser: Tensor
    upstream: Tensor

    def gradients(
        self, wanted: tuple[bool, ...]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients of hidden, weight and bias, each in its own dtype, where `wanted`."""
        weight, bias = self.chunks.head.weight, self.chunks.head.bias
        d_hidden = torch.zeros_like(self.hidden, dtype=self.chunks.wide) if wanted[0] else None
        d_weight = torch.empty_like(weight) if wanted[1] else None
        d_bias = torch.empty_like(bias) if bias is not None and wanted[2] else None
        for entries, part in self.chunks.vocabulary():
            part_sum = torch.zeros_like(part, dtype=self.chunks.wide) if wanted[1] else None
            bias_sum = part.new_zeros(part.shape[:1], dtype=self.chunks.wide)
            self.add_targets(entries, part, d_hidden, part_sum, bias_sum)
            self.add_others(entries, part, d_hidden, part_sum, bias_sum)
            if d_weight is not None and part_sum is not None:
                d_weight[entries] = part_sum
            if d_bias is not None:
                d_bias[entries] = bias_sum
        return (None if d_hidden is None else d_hidden.to(self.hidden.dtype)), d_weight, d_bias

    def add_targets(
        self,
        entries: slice,
        part: Tensor,
        d_hidden: Tensor | None,
        part_sum: Tensor | None,
        bias_sum: Tensor,
    ) -> None:
        """Add the terms of the targets that lie among these entries of the vocabulary."""
        wide = self.chunks.wide
        inside = (self.target >= entries.start) & (self.target < entries.stop)
        picked = inside.nonzero()
        for span in spans(picked.shape[0], self.chunks.chunk_tokens):
            token, which = picked[span].unbind(1)
            column = self.target[token, which] - entries.start
            share = self.share[token, which]
            bias_sum.index_add_(0, column, share)
            if d_hidden is not None:
                d_hidden.index_add_(0, token, part[column].to(wide) * share[:, None])
            if part_sum is not None:
                part_sum.index_add_(0, column, self.hidden[token].to(wide) * share[:, None])

    def add_others(
        self,
        entries: slice,
        part: Tensor,
        d_hidden: Tensor | None,
        part_sum: Tensor | None,
        bias_sum: Tensor,
    ) -> None:
        """Add the terms of the entries that are not a token's target: ``-z' p sum_k g_k``."""
        for span in self.chunks.tokens(self.hidden.shape[0]):
            rows = self.hidden[span].to(self.chunks.compute)
            logits = self.chunks.logits(rows, entries, part)
            slope = self.chunks.slope(logits)
            gradient = logits.sub_(self.normaliser[span, None]).exp_()
            gradient.mul_(-self.chunks.head.scale * self.upstream[span, None])
            if slope is not None:
                gradient.mul_(slope)
            index, inside = local_index(self.target[span] - entries.start, gradient.shape[1])
            gradient.scatter_reduce_(1, index, (~inside).to(gradient.dtype), "prod")
            bias_sum += gradient.sum(0)
            gradient = gradient.to(self.chunks.compute)
            if d_hidden is not None:
                add_product(d_hidden[span], gradient, part)
            if part_sum is not None:
                add_product(part_sum, gradient.T, rows)
