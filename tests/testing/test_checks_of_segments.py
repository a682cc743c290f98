"""The isolation check passes exact attention and sees every kind of leak."""

from __future__ import annotations

import copy

import pytest
import torch

from anima_core import Segment
from anima_core.attention.segments import register_segment_attention, segment_arguments
from anima_core.testing import (
    FAMILIES,
    batch_of,
    check_segment_isolation,
    random_examples,
    tiny_model,
)


def textbook(query, key, value, *, layout, scale, window, softcap):
    """Attention by its definition, token by token: no kernel, no mask."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    outputs = []
    for segment in layout:
        parent = layout[segment.parent] if segment.parent >= 0 else Segment(0, 0)
        for t in range(segment.start, segment.stop):
            seen = [*range(parent.start, parent.stop), *range(segment.start, t + 1)]
            if window is not None:
                seen = seen[-window:]
            scores = torch.einsum("hd,khd->hk", query[t], key[seen]) * scale
            if softcap is not None:
                scores = softcap * torch.tanh(scores / softcap)
            outputs.append(torch.einsum("hk,khd->hd", scores.softmax(-1), value[seen]))
    return torch.stack(outputs)


def planted(*, of=lambda layout: layout, **replaced):
    """The textbook with one thing changed: how it reads the layout, or an argument."""

    def attend(query, key, value, *, layout, **arguments):
        return textbook(query, key, value, layout=of(layout), **{**arguments, **replaced})

    return attend


def one_sequence(layout):
    return (Segment(0, layout[-1].stop),)


def siblings_too(layout):
    """A rejected answer that continues the chosen one, as plain packing would have it."""
    out = []
    for index, segment in enumerate(layout):
        sibling = index > 0 and segment.parent >= 0 and layout[index - 1].parent == segment.parent
        out.append(Segment(segment.start, segment.stop, index - 1) if sibling else segment)
    return tuple(out)


def orphans(layout):
    return tuple(Segment(s.start, s.stop) for s in layout)


def detached_prompt(query, key, value, *, layout, **arguments):
    """Right in its values, but no gradient flows from an answer into its prompt."""
    outputs = []
    for segment in layout:
        rows = slice(segment.start, segment.stop)
        if segment.parent < 0:
            own = (Segment(0, segment.stop - segment.start),)
            part = textbook(query[rows], key[rows], value[rows], layout=own, **arguments)
        else:
            parent = layout[segment.parent]
            size = parent.stop - parent.start
            two = (Segment(0, size), Segment(size, size + segment.stop - segment.start, 0))
            before = slice(parent.start, parent.stop)
            joined = [torch.cat((x[before].detach(), x[rows])) for x in (query, key, value)]
            part = textbook(*joined, layout=two, **arguments)[size:]
        outputs.append(part)
    return torch.cat(outputs)


def model_with(attend, family="llama"):
    register_segment_attention("anima_under_test", attend)
    return tiny_model(family, attn_implementation="anima_under_test")


FEW = [
    *random_examples("completion", 2, seed=1, longest=10),
    *random_examples("preference", 2, seed=2, longest=10),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_textbook_passes(family):
    check_segment_isolation(model_with(textbook, family), FEW)


@pytest.mark.parametrize(
    ("attend", "family", "said"),
    [
        (planted(of=one_sequence), "llama", "hidden states of segment 1"),
        (planted(of=siblings_too), "llama", "hidden states of segment 4 continuing 2"),
        (planted(of=orphans), "llama", "hidden states of segment 3 continuing 2"),
        (planted(window=None), "mistral", "hidden states of segment 1"),
        (planted(window=None), "gemma2", "hidden states of segment 1"),
        (planted(softcap=None), "gemma2", "hidden states of segment"),
        (planted(scale=0.25), "gemma2", "hidden states of segment"),
        (detached_prompt, "llama", "the gradient of .* differs"),
    ],
    ids=["packed", "siblings", "orphans", "window", "window-2", "softcap", "scale", "gradient"],
)
def test_a_leak_is_named(attend, family, said):
    with pytest.raises(AssertionError, match=said):
        check_segment_isolation(model_with(attend, family), FEW)


def test_values_alone_can_be_compared():
    check_segment_isolation(model_with(detached_prompt), FEW, gradients=False)


def test_a_frozen_model_has_no_gradients_to_compare():
    model = model_with(textbook).requires_grad_(False)
    with pytest.raises(AssertionError, match="gradients=False"):
        check_segment_isolation(model, FEW)


def test_positions_matter():
    """The forward can be given; one that numbers positions through the batch is caught."""

    def through(model, batch):
        arguments = segment_arguments(batch)
        arguments["position_ids"] = torch.arange(batch.tokens)[None]
        return model.base_model(**arguments).last_hidden_state[0]

    # RoPE sees distances only, so packed positions show in continuations, not in roots.
    with pytest.raises(AssertionError, match="hidden states of segment 4 continuing 2"):
        check_segment_isolation(model_with(textbook), FEW, forward=through)


def test_a_leak_that_depends_on_other_segments_content_is_seen_by_the_perturbation():
    """Not in this batch's values, but once a token elsewhere has a certain id."""
    model = model_with(textbook)
    batch = batch_of(FEW)
    vocab = model.config.vocab_size
    trigger = int(batch.ids[0] + vocab // 2) % vocab

    def forward(model, batch):
        states = model.base_model(**segment_arguments(batch)).last_hidden_state[0]
        return states + 1.0 if int(batch.ids[0]) == trigger else states

    with pytest.raises(AssertionError, match=r"after a change of segment 0 .*\(unrelated\)"):
        check_segment_isolation(model, FEW, forward=forward)


def test_the_model_is_left_as_it_was():
    model = model_with(textbook)
    before = copy.deepcopy(model.state_dict())
    check_segment_isolation(model, FEW)
    assert model.config._attn_implementation == "anima_under_test"
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
