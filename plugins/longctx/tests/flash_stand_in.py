"""A stand-in for flash-attn: its signature and its demands, computed by the definition.

The signature is that of ``flash_attn_varlen_func`` in flash-attn 2.8: names, order, defaults.
"""

from __future__ import annotations

import torch


def flash_attn_varlen_func(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
    block_table=None,
):
    """Attention of each sequence by its definition, the mask aligned to the bottom right."""
    demand(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k)
    assert dropout_p == 0.0
    assert alibi_slopes is None
    assert block_table is None
    assert not return_attn_probs
    assert isinstance(deterministic, bool)
    assert isinstance(softcap, float)
    scale = q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
    outputs = []
    for i in range(len(cu_seqlens_q) - 1):
        rows = slice(int(cu_seqlens_q[i]), int(cu_seqlens_q[i + 1]))
        columns = slice(int(cu_seqlens_k[i]), int(cu_seqlens_k[i + 1]))
        outputs.append(one(q[rows], k[columns], v[columns], scale, causal, window_size, softcap))
    return torch.cat(outputs).to(q.dtype)


def one(q, k, v, scale, causal, window_size, softcap):
    """One sequence, in float64: q ``[Q, Hq, D]``, k and v ``[K, Hk, D]``."""
    groups = q.shape[1] // k.shape[1]
    k, v = (states.double().repeat_interleave(groups, dim=1) for states in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q.double(), k) * scale
    if softcap > 0:
        scores = softcap * torch.tanh(scores / softcap)
    corner = torch.arange(len(q))[:, None] + len(k) - len(q)
    column = torch.arange(len(k))[None, :]
    left, right = window_size
    right = 0 if causal else right
    hidden = torch.zeros(len(q), len(k), dtype=torch.bool)
    if left >= 0:
        hidden |= column < corner - left
    if right >= 0:
        hidden |= column > corner + right
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v)


def demand(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k):
    """What the CUDA code checks."""
    for states in (q, k, v):
        assert states.dtype in (torch.float16, torch.bfloat16)
        assert states.dtype == q.dtype
        assert states.ndim == 3
        assert states.stride(-1) == 1
        assert states.shape[-1] == q.shape[-1] <= 256
        assert states.shape[-1] % 8 == 0
        assert states.device == q.device
    assert k.shape == v.shape
    assert q.shape[1] % k.shape[1] == 0
    for bounds, states, longest in (
        (cu_seqlens_q, q, max_seqlen_q),
        (cu_seqlens_k, k, max_seqlen_k),
    ):
        assert bounds.dtype == torch.int32
        assert bounds.device == q.device
        assert bounds.is_contiguous()
        assert bounds[0] == 0
        assert bounds[-1] == len(states)
        assert type(longest) is int
        assert longest == max(bounds.diff().tolist())
    assert len(cu_seqlens_q) == len(cu_seqlens_k)
