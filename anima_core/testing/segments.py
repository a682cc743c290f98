"""Checks that segments laid end to end do not see each other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from anima_core.attention.segments import segment_arguments
from anima_core.testing.data import batch_of, random_examples

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from anima_core.batch import Batch, EncodedExample

Forward = Callable[["PreTrainedModel", "Batch"], torch.Tensor]


def check_segment_isolation(
    model: PreTrainedModel,
    examples: Sequence[EncodedExample] | None = None,
    *,
    forward: Forward | None = None,
    tolerance: float = 1e-5,
    gradients: bool = True,
) -> None:
    """A packed batch gives every sequence what it gives alone, and no segment sees another.

    Three things are compared, against a copy of the model with transformers' own eager attention
    that is given one sequence at a time (a continuation together with its parent):

    1. the hidden states of every segment;
    2. the gradient of a random projection of them by every parameter, a shared prompt once;
    3. after the tokens of one segment are exchanged: the hidden states of every segment but it
       and its continuations are unchanged, and those of its continuations are not.

    Args:
        model: a float32 model that was loaded with the attention under test, on any device,
            e.g. ``tiny_model("mistral", attn_implementation=attention.name)``.
        examples: what to pack; when None, completions and preference pairs together.
        forward: runs a batch through the model and returns hidden states ``[N, H]``; when None,
            the backbone's last hidden state under `segment_arguments`.
        tolerance: largest difference, relative to the largest entry (of each parameter's
            gradient, where it is about gradients).
        gradients: compare those too.

    Raises:
        AssertionError: naming the segment or parameter that differs.
    """
    vocab = model.config.vocab_size
    if examples is None:
        examples = [
            *random_examples("completion", 3, seed=1, vocab=vocab),
            *random_examples("preference", 3, seed=2, vocab=vocab),
        ]
    forward = forward or _backbone
    batch = batch_of(examples).to(model.device)
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("eager")

    with torch.set_grad_enabled(gradients):
        packed = forward(model, batch)
        alone = _one_by_one(plain, batch)
    assert packed.shape == alone.shape, f"{tuple(packed.shape)} states, not {tuple(alone.shape)}"
    for index in range(len(batch.layout)):
        rows = _rows(batch, index)
        _close(f"hidden states of {_name(batch, index)}", packed[rows], alone[rows], tolerance)
    if gradients:
        generator = torch.Generator().manual_seed(0)
        direction = torch.randn(packed.shape, generator=generator).to(packed.device)
        _compare_gradients(
            model, plain, (packed * direction).sum(), (alone * direction).sum(), tolerance
        )
    _perturb(model, batch, forward, packed.detach(), tolerance)


def _backbone(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """The last hidden states of a batch, ``[N, H]``."""
    states = model.base_model(**segment_arguments(batch)).last_hidden_state[0]
    assert isinstance(states, torch.Tensor)
    return states


def _one_by_one(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Hidden states of every segment from a forward of its own sequence, ``[N, H]``."""
    states = []
    for segment in batch.layout:
        ids = batch.ids[segment.start : segment.stop]
        before = 0
        if segment.parent >= 0:
            parent = batch.layout[segment.parent]
            before = parent.stop - parent.start
            ids = torch.cat((batch.ids[parent.start : parent.stop], ids))
        out = model.base_model(input_ids=ids[None], use_cache=False).last_hidden_state[0]
        states.append(out[before:])
    return torch.cat(states)


def _compare_gradients(
    model: PreTrainedModel,
    plain: PreTrainedModel,
    packed: torch.Tensor,
    alone: torch.Tensor,
    tolerance: float,
) -> None:
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert names, "the model has no trainable parameter; pass gradients=False"
    ours, theirs = _gradients(model, packed), _gradients(plain, alone)
    for name, got, expected in zip(names, ours, theirs, strict=True):
        if expected is None:  # the output projection, which hidden states do not depend on
            assert got is None or not bool(got.any()), f"{name} has a gradient, alone it has none"
            continue
        assert got is not None, f"no gradient reaches {name}"
        error = float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-8))
        assert error <= tolerance, (
            f"the gradient of {name} differs from that of the sequences alone: relative error "
            f"{error:.3g}, more than {tolerance:.3g}"
        )


def _gradients(model: PreTrainedModel, value: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.autograd.grad(value, trained, allow_unused=True)


def _perturb(
    model: PreTrainedModel, batch: Batch, forward: Forward, before: torch.Tensor, tolerance: float
) -> None:
    """Exchange the tokens of one segment after another and see who notices."""
    vocab = model.config.vocab_size
    for changed, segment in enumerate(batch.layout):
        ids = batch.ids.clone()
        ids[segment.start : segment.stop] = (ids[segment.start : segment.stop] + vocab // 2) % vocab
        with torch.no_grad():
            after = forward(model, replace(batch, ids=ids))
        for index, other in enumerate(batch.layout):
            what = f"after a change of {_name(batch, changed)}, {_name(batch, index)}"
            rows = _rows(batch, index)
            if changed not in (index, other.parent):
                _close(f"{what} (unrelated)", after[rows], before[rows], tolerance)
            else:
                moved = float((after[rows] - before[rows]).abs().max())
                assert moved > tolerance, f"{what} did not change, though it depends on it"


def _name(batch: Batch, index: int) -> str:
    segment = batch.layout[index]
    of = f" continuing {segment.parent}" if segment.parent >= 0 else ""
    return f"segment {index}{of} (tokens {segment.start} to {segment.stop - 1})"


def _rows(batch: Batch, index: int) -> slice:
    return slice(batch.layout[index].start, batch.layout[index].stop)


def _close(what: str, got: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    got, expected = got.detach(), expected.detach()
    error = float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-8))
    # A NaN fails as well.
    assert error <= tolerance, f"{what}: relative error {error:.3g}, more than {tolerance:.3g}"
