"""Continuations of one prompt on the CPU: two exact blocks in place of one call with a mask.

A continuation sees its whole prompt, and itself causally. Neither block needs a mask, and the first
is the same for every continuation of a prompt, so they share one call::

    queries of all continuations  x  keys of the prompt       no mask
    queries of one continuation   x  its own keys             causal

Softmax over both is the two blocks' outputs weighed by their sums of exponentials. With
L = log sum exp(scores) of a block (Dao 2023, arXiv:2307.08691, section 3.1)::

    L = log(exp(L_prompt) + exp(L_own))
    O = exp(L_prompt - L) O_prompt + exp(L_own - L) O_own

A flash backward reads the probabilities as exp(score - L), and the rest of the softmax's derivative
as the row sum of dO * O. Given the merged L and O, each block's backward is its part of the whole
gradient, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LONG = 256
"""Tokens of a prompt, or of its longest continuation, from which on two blocks beat a mask.

Forward and backward of two continuations, one mask each against two blocks, in ms of one AVX2 core
(float32, 9 heads of 64 over 3 of keys): 64 + 64: 3.6 and 3.9; 128 + 128: 11.1 and 11.1; 256 + 32:
4.2 and 3.5; 400 + 100: 17.6 and 15.1; 800 + 200: 63 and 54; 100 + 400: 62 and 58. It turns at the
same lengths with 14 heads over 2, 12 over 12, and 16 of 128 over 4.
"""

_FORWARD = "_scaled_dot_product_flash_attention_for_cpu"


def merging_pays(prompt: int, continuations: Sequence[int]) -> bool:
    """Whether two blocks are faster than a mask, by lengths in tokens alone."""
    return max(prompt, *continuations) >= LONG


def can_merge(query: Tensor, value: Tensor) -> bool:
    """Whether PyTorch's flash kernel for the CPU takes these heads, ``[tokens, heads, D]``."""
    return (
        query.device.type == "cpu"
        and query.shape[-1] == value.shape[-1]
        and torch.backends.cuda.flash_sdp_enabled()  # despite its name it rules the CPU's too
        and hasattr(torch.ops.aten, _FORWARD)
    )


def merged(
    queries: Sequence[Tensor],
    prompt: tuple[Tensor, Tensor],
    own: Sequence[tuple[Tensor, Tensor]],
    scale: float,
) -> tuple[Tensor, ...]:
    """Attention of every continuation of a prompt.

    Args:
        queries: of each continuation, ``[C_i, Hq, D]``.
        prompt: the prompt's keys and values, ``[P, Hk, D]``.
        own: each continuation's keys and values, ``[C_i, Hk, D]``.
        scale: factor on the scores.

    Returns:
        For each continuation ``[C_i, Hk, Hq / Hk, D]``.
    """
    keys, values = zip(*own, strict=True)
    states = [torch.cat(tuple(queries)), *prompt, torch.cat(keys), torch.cat(values)]
    if torch.is_autocast_enabled("cpu"):  # as scaled_dot_product_attention does
        states = [state.to(torch.get_autocast_dtype("cpu")) for state in states]
    lengths = [len(query) for query in queries]
    output: Tensor = _Merged.apply(*states, lengths, scale)  # type: ignore[no-untyped-call]
    parts: tuple[Tensor, ...] = output.split(lengths)
    return parts


class _Merged(torch.autograd.Function):
    """The two blocks of all continuations, laid end to end: C tokens of queries, P of prompt."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        prompt_key: Tensor,
        prompt_value: Tensor,
        key: Tensor,
        value: Tensor,
        lengths: list[int],
        scale: float,
    ) -> Tensor:
        """``[C, Hk, g, D]``, where g query heads share one of keys."""
        q = _grouped(query, key.shape[1]).contiguous()
        heads, groups, tokens, size = q.shape
        # The g heads of a group as queries of one head: no key is read twice.
        folded = q.view(1, heads, groups * tokens, size)
        output, total = _forward(
            folded, prompt_key.transpose(0, 1)[None], prompt_value.transpose(0, 1)[None], scale
        )
        output, total = output.reshape(q.shape), total.reshape(q.shape[:-1])
        own, own_total = torch.empty_like(output), torch.empty_like(total)
        for part, k, v in _own_blocks(lengths, key, value, groups):
            own[:, :, part], own_total[:, :, part] = _forward(
                q[:, :, part], k, v, scale, causal=True
            )
        merged_total = torch.logaddexp(total, own_total)
        output = (
            output * (total - merged_total).exp_()[..., None]
            + own * (own_total - merged_total).exp_()[..., None]
        ).to(q.dtype)
        ctx.save_for_backward(q, prompt_key, prompt_value, key, value, output, merged_total)
        ctx.lengths, ctx.scale = lengths, scale
        return output.permute(2, 0, 1, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Each block's flash backward, given the merged output and log-sum-exp."""
        q, prompt_key, prompt_value, key, value, output, total = ctx.saved_tensors
        groups = q.shape[1]
        grad = upstream.permute(1, 2, 0, 3).contiguous()
        # Not folded: this kernel runs in parallel over heads alone.
        prompt = _spread(prompt_key, groups), _spread(prompt_value, groups)
        grad_q, *grad_prompt = _backward(grad, q, *prompt, output, total, ctx.scale)
        grad_own = []
        for part, k, v in _own_blocks(ctx.lengths, key, value, groups):
            here = (slice(None), slice(None), part)
            states = grad[here], q[here], k, v, output[here], total[here]
            more, *grads = _backward(*states, ctx.scale, causal=True)
            grad_q[here] += more
            grad_own.append([_gathered(each) for each in grads])
        own = [torch.cat(parts) for parts in zip(*grad_own, strict=True)]
        prompt_grads = [_gathered(each) for each in grad_prompt]
        return grad_q.permute(2, 0, 1, 3).flatten(1, 2), *prompt_grads, *own, None, None


def _own_blocks(
    lengths: list[int], key: Tensor, value: Tensor, groups: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Where each continuation stands, and its keys and values for every query head."""
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        yield part, _spread(key[part], groups), _spread(value[part], groups)
        start += length


def _grouped(states: Tensor, heads: int) -> Tensor:
    """``[C, heads * g, D]`` to ``[heads, g, C, D]``."""
    tokens, all_heads, size = states.shape
    return states.view(tokens, heads, all_heads // heads, size).permute(1, 2, 0, 3)


def _spread(states: Tensor, groups: int) -> Tensor:
    """``[K, heads, D]`` to ``[heads, groups, K, D]``, without a copy."""
    return states.transpose(0, 1)[:, None].expand(-1, groups, -1, -1)


def _gathered(grad: Tensor) -> Tensor:
    """The gradient of what `_spread` spread."""
    return grad.sum(1).transpose(0, 1)


def _forward(
    q: Tensor, k: Tensor, v: Tensor, scale: float, *, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Output ``[B, H, Q, D]`` and log-sum-exp ``[B, H, Q]`` (float32 for 16 bits)."""
    output, total = getattr(torch.ops.aten, _FORWARD)(q, k, v, 0.0, causal, scale=scale)
    return output, total


def _backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    output: Tensor,
    total: Tensor,
    scale: float,
    *,
    causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by q, k and v."""
    operator = getattr(torch.ops.aten, f"{_FORWARD}_backward")
    grads: tuple[Tensor, Tensor, Tensor] = operator(
        grad, q, k, v, output, total, 0.0, causal, scale=scale
    )
    return grads
