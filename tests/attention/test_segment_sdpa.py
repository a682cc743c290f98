"""The core's attention against a dense reference with an explicit mask."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anima_core.attention.sdpa import NAME, segment_sdpa
from anima_core.attention.segments import register_segment_attention
from anima_core.batch import Segment
from anima_core.testing import tiny_model


def dense(q, k, v, layout, scale, window, softcap):  # type: ignore[no-untyped-def]
    """Textbook attention over all tokens with an ``[N, N]`` mask."""
    n = q.shape[0]
    position, owner = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)
    for index, segment in enumerate(layout):
        size = segment.stop - segment.start
        offset = 0
        if segment.parent >= 0:
            offset = layout[segment.parent].stop - layout[segment.parent].start
        position[segment.start : segment.stop] = torch.arange(size) + offset
        owner[segment.start : segment.stop] = index
    parents = torch.tensor([s.parent for s in layout])[owner]
    same = owner[:, None] == owner[None, :]
    inherited = parents[:, None] == owner[None, :]
    mask = (same | inherited) & (position[None, :] <= position[:, None])
    if window is not None:
        mask &= position[None, :] > position[:, None] - window
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = torch.einsum("nhd,mhd->hnm", q, k) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)
    return torch.einsum("hnm,mhd->nhd", weights, v)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Segment, ...]:
    found: list[Segment] = []
    roots: list[int] = []
    start = 0
    for _ in range(draw(st.integers(1, 6))):
        size = draw(st.integers(1, 9))
        parent = draw(st.sampled_from([-1, *roots]))
        found.append(Segment(start, start + size, parent))
        if parent < 0:
            roots.append(len(found) - 1)
        start += size
    return tuple(found)


@settings(max_examples=60, deadline=None)
@given(
    layouts(),
    st.sampled_from([None, 1, 3, 50]),
    st.sampled_from([None, 0.8]),
    st.sampled_from([1, 2, 4]),
)
def test_forward_and_gradients(layout, window, softcap, kv_heads) -> None:  # type: ignore[no-untyped-def]
    n = layout[-1].stop
    generator = torch.Generator().manual_seed(n)
    shapes = [(n, 4, 8), (n, kv_heads, 8), (n, kv_heads, 8)]
    q, k, v = (torch.randn(s, generator=generator).requires_grad_() for s in shapes)
    mine = segment_sdpa(q, k, v, layout=layout, scale=0.3, window=window, softcap=softcap)
    theirs = dense(q, k, v, layout, 0.3, window, softcap)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    upstream = torch.randn(mine.shape, generator=generator)
    got = torch.autograd.grad(mine, (q, k, v), upstream)
    expected = torch.autograd.grad(theirs, (q, k, v), upstream)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt2"])
def test_left_padded_generation_is_that_of_eager_attention(family: str) -> None:
    register_segment_attention(NAME, segment_sdpa)
    ids = torch.tensor([[2, 2, 2, 5, 9, 7], [4, 8, 6, 3, 11, 12]])
    mask = torch.tensor([[0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    texts = [
        tiny_model(family, attn_implementation=name).generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=12, do_sample=False, eos_token_id=319
        )
        for name in (NAME, "eager")
    ]
    assert torch.equal(*texts)
