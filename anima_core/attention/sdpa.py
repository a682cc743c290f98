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

    On the CPU the continuations of a long prompt are computed together, without a mask; the choice
    is by lengths alone (`anima_core.attention.merged`), so that a run is repeated bit for bit.
    """
    import torch

    from anima_core.attention.merged import can_merge, merged, merging_pays

    lengths = [segment.stop - segment.start for segment in layout]
    # One split, whose backward is one concatenation; a slice's would be a tensor of N each.
    q, k, v = (states.split(lengths) for states in (query, key, value))
    mergeable = softcap is None and can_merge(query, value)
    outputs: list[torch.Tensor] = [query] * len(layout)
    for root, children in families(layout).items():
        outputs[root] = _attend(q[root], k[root], v[root], scale, window, softcap)
        answers = [lengths[child] for child in children]
        within = window is None or lengths[root] + max(answers, default=0) <= window
        if children and mergeable and within and merging_pays(lengths[root], answers):
            own = [(k[child], v[child]) for child in children]
            parts = merged([q[child] for child in children], (k[root], v[root]), own, scale)
            for child, part in zip(children, parts, strict=True):
                outputs[child] = part
            continue
        for child in children:
            keys, values = torch.cat((k[root], k[child])), torch.cat((v[root], v[child]))
            outputs[child] = _attend(q[child], keys, values, scale, window, softcap)
    return torch.cat(outputs).flatten(1, 2)


def families(layout: tuple[Segment, ...]) -> dict[int, list[int]]:
    """Each root's index, and those of its continuations."""
    found: dict[int, list[int]] = {}
    for index, segment in enumerate(layout):
        if segment.parent < 0:
            found[index] = []
        else:
            found[segment.parent].append(index)
    return found


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Attention of one segment.

    Args:
        q: ``[Q, Hq, D]``.
        k, v: ``[K, Hk, D]``; the last Q of the K are the segment's own.
        scale, window, softcap: as in `SegmentAttend`.

    Returns:
        ``[Q, A, B, D]``, where A times B are the heads.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    queries, keys = len(q), len(k)
    if window is not None and keys - queries >= window:
        unseen = keys - queries - window + 1  # before the first query's window
        k, v, keys = k[unseen:], v[unseen:], keys - unseen
    free = queries == keys and (window is None or keys <= window)
    mask = None if free else _mask(queries, keys, window, q.device)
    q, k, v = _by_head(q, k, v)
    if softcap is None:
        output = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=free, scale=scale)
    else:
        mask = _mask(queries, keys, window, q.device) if mask is None else mask
        scores = softcap * torch.tanh(q @ k.transpose(2, 3) * scale / softcap)
        scores = scores.masked_fill(~mask, float("-inf"))
        output = torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype) @ v
    return output.permute(2, 0, 1, 3)


def _mask(queries: int, keys: int, window: int | None, device: torch.device) -> torch.Tensor:
    """What the last `queries` of `keys` tokens see, ``[queries, keys]`` bool."""
    import torch

    row = torch.arange(keys - queries, keys, device=device)[:, None]
    column = torch.arange(keys, device=device)[None, :]
    mask = column <= row
    if window is not None:
        mask &= column > row - window
    return mask


def _by_head(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Heads first, and a key/value head for every query head: ``[A, B, tokens, D]``.

    A CPU's kernel goes by strides, so that there a head that several share is not copied.
    `enable_gqa` would fall to a path twenty times slower in float32.
    """
    heads = k.shape[1]
    groups = q.shape[1] // heads
    if q.device.type == "cpu":
        q = q.unflatten(1, (heads, groups)).permute(1, 2, 0, 3)
        k, v = (x.transpose(0, 1)[:, None].expand(-1, groups, -1, -1) for x in (k, v))
        return q, k, v
    q, k, v = (states.transpose(0, 1) for states in (q, k, v))
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=0), v.repeat_interleave(groups, dim=0)
    return q[None], k[None], v[None]
