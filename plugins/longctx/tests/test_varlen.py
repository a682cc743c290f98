"""`VarlenAttention` through a stand-in for flash-attn, against attention with an explicit mask."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import pytest
import torch
from anima_longctx.varlen import VarlenAttention, sequences
from hypothesis import given, settings
from hypothesis import strategies as st

from anima_core import Segment
from anima_core.attention.segments import register_segment_attention
from anima_core.testing import check_segment_isolation, tiny_model


def load_stand_in():
    path = Path(__file__).with_name("flash_stand_in.py")
    spec = importlib.util.spec_from_file_location("flash_stand_in", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STAND_IN = load_stand_in().flash_attn_varlen_func

TWO_ANSWERS = (Segment(0, 5), Segment(5, 8, 0), Segment(8, 12, 0), Segment(12, 18), Segment(18, 19))
LONE = (Segment(0, 1), Segment(1, 7))
APART = (Segment(0, 4), Segment(4, 9), Segment(9, 12, 0), Segment(12, 14, 1), Segment(14, 16, 0))


def dense(query, key, value, *, layout, scale, window, softcap):
    """Attention by one mask over all tokens, from positions and visibility, in float64."""
    total = layout[-1].stop
    owner = torch.tensor([i for i, s in enumerate(layout) for _ in range(s.start, s.stop)])
    parent = torch.tensor([s.parent for s in layout])[owner]
    lengths = [s.stop - s.start for s in layout]
    offset = torch.tensor([lengths[s.parent] if s.parent >= 0 else 0 for s in layout])[owner]
    start = torch.tensor([s.start for s in layout])[owner]
    position = torch.arange(total) - start + offset
    same = owner[:, None] == owner[None, :]
    above = parent[:, None] == owner[None, :]
    back = position[:, None] - position[None, :]
    seen = (same | above) & (back >= 0)
    if window is not None:
        seen &= back < window
    groups = query.shape[1] // key.shape[1]
    key, value = (states.double().repeat_interleave(groups, 1) for states in (key, value))
    scores = torch.einsum("qhd,khd->hqk", query.double(), key) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, value)


def states(tokens, heads, size=8, dtype=torch.float16, seed=0):
    """Random states laid out as a model hands them over: heads first in memory."""
    gen = torch.Generator().manual_seed(seed * 100 + tokens)
    made = torch.randn(heads, tokens, size, generator=gen).to(dtype)
    return made.transpose(0, 1).requires_grad_()


def both(layout, *, heads=4, key_heads=2, dtype=torch.float16, window=None, softcap=None):
    """Output and gradients of the varlen call and of the dense reference."""
    tokens = layout[-1].stop
    inputs = [
        states(tokens, h, dtype=dtype, seed=i) for i, h in enumerate((heads, key_heads, key_heads))
    ]
    how = {"layout": layout, "scale": 0.3, "window": window, "softcap": softcap}
    got = VarlenAttention(STAND_IN, torch.float16)(*inputs, **how)
    want = dense(*inputs, **how)
    upstream = torch.randn(
        want.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64
    )
    got_grads = torch.autograd.grad((got * upstream).sum(), inputs)
    want_grads = torch.autograd.grad((want * upstream).sum(), inputs)
    return [got, *got_grads], [want, *want_grads]


def assert_same(got, want):
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("layout", [TWO_ANSWERS, LONE, APART], ids=["pair", "lone", "apart"])
@pytest.mark.parametrize("window", [None, 1, 3, 100])
@pytest.mark.parametrize("softcap", [None, 0.5])
def test_one_varlen_call_is_the_masked_attention_with_its_gradients(layout, window, softcap):
    assert_same(*both(layout, window=window, softcap=softcap))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes_go_in_as_16_bits_and_come_back_as_they_were(dtype):
    got, want = both(TWO_ANSWERS, dtype=dtype)
    assert got[0].dtype == dtype
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=3e-2, atol=3e-2)


@st.composite
def layouts(draw):
    segments, stop = [], 0
    for _ in range(draw(st.integers(1, 6))):
        roots = [i for i, s in enumerate(segments) if s.parent < 0]
        parent = draw(st.sampled_from([-1, *roots]))
        length = draw(st.integers(1, 6))
        segments.append(Segment(stop, stop + length, parent))
        stop += length
    return tuple(segments)


@settings(max_examples=50, deadline=None)
@given(layout=layouts(), window=st.one_of(st.none(), st.integers(1, 8)), groups=st.integers(1, 3))
def test_any_layout(layout, window, groups):
    assert_same(*both(layout, heads=2 * groups, key_heads=2, window=window))


def test_a_layout_in_flash_attn_s_terms():
    got = sequences(TWO_ANSWERS, torch.device("cpu"))
    assert got.cu_seqlens_q.tolist() == [0, 5, 8, 12, 18, 19]
    assert got.cu_seqlens_k.tolist() == [0, 5, 13, 22, 28, 29]
    assert (got.max_seqlen_q, got.max_seqlen_k) == (6, 9)
    assert got.keys.tolist()[5:13] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert sequences(LONE, torch.device("cpu")).keys is None


def test_what_evaluation_made_serves_training():
    layout = (Segment(0, 2), Segment(2, 5, 0))
    with torch.inference_mode():
        sequences(layout, torch.device("cpu"))
    got, want = both(layout)
    assert_same(got, want)


def test_the_call_says_window_softcap_and_determinism_as_flash_attn_means_them():
    seen = {}

    def kernel(q, k, v, **how):
        seen.update(how)
        return STAND_IN(q, k, v, **how), None

    inputs = [states(7, 2) for _ in range(3)]
    attend = VarlenAttention(kernel, torch.float16)
    how = {"layout": LONE, "scale": 0.25}
    attend(*inputs, **how, window=4, softcap=20.0)
    assert (seen["window_size"], seen["softcap"], seen["causal"]) == ((3, 0), 20.0, True)
    assert (seen["softmax_scale"], seen["dropout_p"], seen["deterministic"]) == (0.25, 0.0, False)
    torch.use_deterministic_algorithms(True)
    try:
        attend(*inputs, **how, window=None, softcap=None)
    finally:
        torch.use_deterministic_algorithms(False)
    assert (seen["window_size"], seen["softcap"], seen["deterministic"]) == ((-1, -1), 0.0, True)
    assert set(seen) < set(inspect.signature(STAND_IN).parameters)


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2"])
def test_models_keep_segments_apart_through_it(family):
    name = "test_varlen_stand_in"
    register_segment_attention(name, VarlenAttention(STAND_IN, torch.float16))
    check_segment_isolation(tiny_model(family, attn_implementation=name), tolerance=1e-2)
