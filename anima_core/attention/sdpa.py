"""The core's attention: PyTorch's `scaled_dot_product_attention`, one segment at a time.

Each segment is a call of its own, so nothing can leak and no mask of ``[N, N]`` exists; a root
segment is purely causal, which takes the flash kernel with O(n) memory on CPU and CUDA alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anima_core
from anima_core.batch import Segment
from anima_core.contracts import Attention

if TYPE_CHECKING:
    import torch

    from anima_core.context import RunContext

NAME = "anima_segments"


class Sdpa:
    """The default attention: exact for segments, shared prompts, windows and soft-caps."""

    api = 1
    summary = "PyTorch's own scaled-dot-product attention, segment by segment"
    slots = ("attention",)
    requires = ()
    conflicts = ()
    Options = anima_core.NoOptions

    def __init__(self, options: anima_core.Options) -> None:
        self.options = options

    @anima_core.hookimpl
    def attention(self, run: RunContext) -> Attention:  # noqa: ARG002
        """Register the kernel and say what it can do."""
        from anima_core.attention.segments import register_segment_attention

        register_segment_attention(NAME, segment_sdpa)
        return Attention(NAME)


def segment_sdpa(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    layout: tuple[Segment, ...],
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Segment attention by PyTorch; see `SegmentAttend` for shapes.

    Grouped key/value heads are repeated per segment: `enable_gqa` in float32 on CPU falls to a
    path twenty times slower.
    """
    import torch

    groups = query.shape[1] // key.shape[1]
    outputs = []
    for segment in layout:
        q = query[segment.start : segment.stop].transpose(0, 1)
        k, v = _visible(key, segment, layout), _visible(value, segment, layout)
        if groups > 1:
            k, v = k.repeat_interleave(groups, dim=0), v.repeat_interleave(groups, dim=0)
        outputs.append(_attend(q, k, v, scale, window, softcap).transpose(0, 1))
    return torch.cat(outputs)


def _visible(states: torch.Tensor, segment: Segment, layout: tuple[Segment, ...]) -> torch.Tensor:
    """The keys or values a segment may see: its parent's, then its own. ``[heads, K, D]``."""
    import torch

    own = states[segment.start : segment.stop]
    if segment.parent >= 0:
        parent = layout[segment.parent]
        own = torch.cat((states[parent.start : parent.stop], own))
    return own.transpose(0, 1)


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Attention of one segment: q ``[H, Q, D]``, k and v ``[H, K, D]``, the last Q of K its own."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    queries, keys = q.shape[1], k.shape[1]
    plain = softcap is None and (window is None or keys <= window)
    if plain and queries == keys:
        return scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, scale=scale)[
            0
        ]
    row = torch.arange(keys - queries, keys, device=q.device)[:, None]
    column = torch.arange(keys, device=q.device)[None, :]
    mask = column <= row
    if window is not None:
        mask &= column > row - window
    if softcap is None:
        return scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=mask[None, None], scale=scale
        )[0]
    scores = softcap * torch.tanh(q @ k.transpose(1, 2) * scale / softcap)
    scores = scores.masked_fill(~mask, float("-inf"))
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype) @ v
