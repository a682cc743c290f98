"""Continuations of one prompt against the same sequences alone, the prompt repeated for each."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from anima_core.attention import merged as merging
from anima_core.attention.sdpa import segment_sdpa
from anima_core.batch import Segment

PAIR = (Segment(0, 9), Segment(9, 14, 0), Segment(14, 21, 0))


@pytest.fixture
def always(monkeypatch):
    """Two blocks at any length; what the choice is by length has a test of its own."""
    monkeypatch.setattr(merging, "LONG", 1)


def laid_out(sizes):
    """Families, each a root's length and its continuations', as a layout."""
    found, start = [], 0
    for root, *children in sizes:
        parent = len(found)
        for length, above in [(root, -1), *((child, parent) for child in children)]:
            found.append(Segment(start, start + length, above))
            start += length
    return tuple(found)


def drawn(layout, heads=4, key_heads=2, size=8, dtype=torch.float32, seed=0):
    """Query, key and value as a model hands them over, and what comes back from above."""
    tokens = layout[-1].stop
    generator = torch.Generator().manual_seed(tokens * 100 + seed)
    shapes = [(heads, tokens), (key_heads, tokens), (key_heads, tokens), (heads, tokens)]
    made = [torch.randn(*shape, size, generator=generator).to(dtype) for shape in shapes]
    *states, upstream = (states.transpose(0, 1) for states in made)
    return [states.requires_grad_() for states in states], upstream


def alone(query, key, value, *, layout, **how):
    """Every segment from a sequence of its own: its prompt once more, then itself."""
    outputs = []
    for segment in layout:
        index = torch.arange(segment.start, segment.stop)
        if segment.parent >= 0:
            above = layout[segment.parent]
            index = torch.cat((torch.arange(above.start, above.stop), index))
        lone = (Segment(0, len(index)),)
        output = segment_sdpa(query[index], key[index], value[index], layout=lone, **how)
        outputs.append(output[len(index) - (segment.stop - segment.start) :])
    return torch.cat(outputs)


def compare(layout, states, upstream, tolerance=1e-5, **how):
    how = {"layout": layout, "scale": 0.3, "window": None, "softcap": None} | how
    found, expected = (f(*states, **how) for f in (segment_sdpa, alone))
    same(found, expected, tolerance)
    grads = [torch.autograd.grad(output, states, upstream) for output in (found, expected)]
    for ours, theirs in zip(*grads, strict=True):
        same(ours, theirs, tolerance)


def same(found, expected, tolerance):
    """Within a tolerance relative to the largest entry; a lone key has a gradient of 0."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    error = (found - expected).abs().max() / expected.abs().max().clamp_min(0.1)
    assert error <= tolerance, f"relative error {error:.1e}"


families = st.lists(
    st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=3
).map(laid_out)


@pytest.mark.usefixtures("always")
@settings(max_examples=60, deadline=None)
@given(
    families,
    st.sampled_from([(4, 1), (4, 2), (4, 4), (6, 2)]),
    st.sampled_from([None, None, 1, 3, 8, 50]),
    st.sampled_from([None, None, 0.8]),
)
def test_any_layout_is_its_sequences_alone(layout, heads, window, softcap):
    states, upstream = drawn(layout, *heads)
    compare(layout, states, upstream, window=window, softcap=softcap)


@pytest.mark.usefixtures("always")
def test_continuations_that_stand_apart_from_their_prompts():
    layout = (
        Segment(0, 4),
        Segment(4, 9),
        Segment(9, 12, 0),
        Segment(12, 14, 1),
        Segment(14, 20, 0),
        Segment(20, 21),
    )
    compare(layout, *drawn(layout))


@pytest.mark.parametrize("sizes", [(300, 40, 70), (20, 280, 5, 9, 1), (520, 3)], ids=str)
@pytest.mark.parametrize("window", [None, 128])
def test_lengths_of_several_of_the_kernel_s_blocks(sizes, window):
    layout = laid_out([sizes])
    compare(layout, *drawn(layout, 3, 1, 16), window=window)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_keep_their_dtype_and_come_close(dtype):
    compare(PAIR, *drawn(PAIR, dtype=dtype), tolerance=3e-2)


@pytest.mark.usefixtures("always")
def test_autocast_computes_in_its_dtype():
    (query, key, value), _ = drawn(PAIR)
    how = {"layout": PAIR, "scale": 0.3, "window": None, "softcap": None}
    with torch.autocast("cpu", torch.bfloat16):
        output = segment_sdpa(query, key, value.bfloat16(), **how)
    assert output.dtype == torch.bfloat16
    grads = torch.autograd.grad(output.float().sum(), (query, key, value))
    assert [grad.dtype for grad in grads] == [torch.float32] * 3
    same(output.float(), segment_sdpa(query, key, value, **how), 3e-2)


@pytest.mark.usefixtures("always")
def test_checkpointing_and_no_grad_change_nothing():
    states, upstream = drawn(PAIR)

    def attend(*inputs):
        return segment_sdpa(*inputs, layout=PAIR, scale=0.3, window=None, softcap=None)

    plain = attend(*states)
    again = checkpoint(attend, *states, use_reentrant=False)
    with torch.no_grad():
        assert torch.equal(attend(*states), plain)
    assert torch.equal(again, plain)
    for ours, theirs in zip(
        torch.autograd.grad(again, states, upstream),
        torch.autograd.grad(plain, states, upstream),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.usefixtures("always")
def test_gradients_are_finite_differences_in_float64():
    layout = (Segment(0, 3), Segment(3, 5, 0), Segment(5, 8, 0))
    states, _ = drawn(layout, size=4, dtype=torch.float64)

    def attend(*inputs):
        return segment_sdpa(*inputs, layout=layout, scale=0.7, window=None, softcap=None)

    assert torch.autograd.gradcheck(attend, states)


def test_lengths_alone_decide(monkeypatch):
    """So a run is repeated bit for bit; and what the two blocks cannot do, a mask does."""
    called = []
    plain = merging.merged

    def counted(*arguments):
        called.append(arguments)
        return plain(*arguments)

    monkeypatch.setattr(merging, "merged", counted)

    def merges(sizes, window=None, softcap=None):
        called.clear()
        layout = laid_out([sizes])
        states, upstream = drawn(layout)
        compare(layout, states, upstream, window=window, softcap=softcap)
        return bool(called)

    assert merges((256, 4, 4))
    assert merges((5, 4, 256))
    assert not merges((255, 255))
    assert not merges((400,))
    assert merges((256, 4, 9), window=265)
    assert not merges((256, 4, 9), window=264)
    assert not merges((256, 4), softcap=2.0)
    with sdpa_kernel(SDPBackend.MATH):
        assert not merges((256, 4))
    monkeypatch.setattr(merging, "_FORWARD", "_no_such_operator")
    assert not merges((256, 4))


def test_keys_that_no_query_s_window_reaches_are_left_out(monkeypatch):
    seen = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def noted(query, key, value, **how):
        seen.append(key.shape[2])
        return attend(query, key, value, **how)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noted)
    layout = laid_out([(40, 6)])
    states, _ = drawn(layout)
    segment_sdpa(*states, layout=layout, scale=0.3, window=10, softcap=None)
    assert seen == [40, 15]
