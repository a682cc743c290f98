"""FlashAttention-2's variable-length function over segments: one call, no mask, no padding.

A continuation's keys are its parent's, then its own; its queries are its own alone::

    queries   p p p | c c | r r          cu_seqlens_q  0 3 5 7
    keys      p p p | p p p c c | p p p r r    cu_seqlens_k  0 3 8 13

From 2.1 on flash-attn aligns the causal mask with the bottom right corner when there are fewer
queries than keys: query i of Q sees keys 0 … K - Q + i. With K - Q tokens of parent that is the
whole parent and the continuation up to i, which is exactly what a continuation sees. A sliding
window counts from the same corner, so it runs over the parent too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from anima_core import Segment


@dataclass(frozen=True)
class Sequences:
    """A layout in flash-attn's terms.

    Attributes:
        cu_seqlens_q, cu_seqlens_k: cumulative lengths of queries and keys, ``[S + 1]`` int32.
        max_seqlen_q, max_seqlen_k: the longest of each, in tokens.
        keys: index of each key's token, ``[total keys]`` int64; None when keys are the tokens
            themselves, in order.
    """

    cu_seqlens_q: Tensor
    cu_seqlens_k: Tensor
    max_seqlen_q: int
    max_seqlen_k: int
    keys: Tensor | None


@lru_cache(maxsize=8)
def sequences(layout: tuple[Segment, ...], device: torch.device) -> Sequences:
    """Translate a layout; every layer of a forward and of a recomputed one asks for the same."""
    own = [range(s.start, s.stop) for s in layout]
    parents = [own[s.parent] if s.parent >= 0 else range(0) for s in layout]
    queries = [len(tokens) for tokens in own]
    keys = [len(parent) + len(tokens) for parent, tokens in zip(parents, own, strict=True)]
    index = None
    # Made in evaluation, the tensors must still be fit to be kept for a backward pass later.
    with torch.inference_mode(False):
        if any(parents):
            pairs = zip(parents, own, strict=True)
            flat = [token for parent, tokens in pairs for token in (*parent, *tokens)]
            index = torch.tensor(flat, dtype=torch.int64, device=device)
        return Sequences(
            _cumulative(queries, device),
            _cumulative(keys, device),
            max(queries, default=0),
            max(keys, default=0),
            index,
        )


def _cumulative(lengths: list[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)


@dataclass(frozen=True)
class VarlenAttention:
    """A `SegmentAttend` by ``flash_attn_varlen_func``.

    Attributes:
        kernel: that function, of flash-attn 2.6 or later.
        dtype: float16 or bfloat16; what other dtypes are cast to, and back from.
    """

    kernel: Callable[..., Any]
    dtype: torch.dtype

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        layout: tuple[Segment, ...],
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        """Attend; see `anima_core.attention.segments.SegmentAttend` for shapes.

        The backward pass is deterministic where `torch.use_deterministic_algorithms` is on.
        """
        of = sequences(layout, query.device)
        if of.keys is not None:
            key, value = key.index_select(0, of.keys), value.index_select(0, of.keys)
        output = self.kernel(
            self._cast(query),
            self._cast(key),
            self._cast(value),
            cu_seqlens_q=of.cu_seqlens_q,
            cu_seqlens_k=of.cu_seqlens_k,
            max_seqlen_q=of.max_seqlen_q,
            max_seqlen_k=of.max_seqlen_k,
            dropout_p=0.0,
            softmax_scale=scale,
            causal=True,
            window_size=(-1, -1) if window is None else (window - 1, 0),
            softcap=softcap or 0.0,
            deterministic=torch.are_deterministic_algorithms_enabled(),
        )
        attended: Tensor = output[0] if isinstance(output, tuple) else output
        return attended.to(query.dtype)

    def _cast(self, states: Tensor) -> Tensor:
        return states if states.dtype in (torch.float16, torch.bfloat16) else states.to(self.dtype)
