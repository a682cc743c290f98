"""How many tokens a pass without a gradient has in flight, and what it does out of memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anima_core import Batch
from anima_core.data.collate import collate
from anima_core.registry.selection import select
from anima_core.runs.memory import activation_bytes, estimate_memory, memory_shape
from anima_core.runs.reporter import SilentReporter
from anima_core.testing import random_examples, run_context
from anima_core.testing.models import tiny_config
from anima_core.training import reference
from anima_core.training.reference_pass import (
    MOST,
    MOST_ELSEWHERE,
    Forward,
    forward_bytes,
    tokens_in_flight,
    tokens_of_held_out,
)
from anima_core.training.signals import stop_signals

EXAMPLES = random_examples("preference", 12, seed=3, vocab=320)


def in_flight(strategies: Sequence[str] = (), other: Any = None, held: int = 0, **core: Any) -> int:
    selection = select({name: {} for name in strategies})
    run = run_context(strategies=selection.strategies, **core)
    return tokens_in_flight(run, selection, other, held)


def test_a_pass_has_more_in_flight_than_a_step_and_never_less() -> None:
    deep = tiny_config(num_hidden_layers=24)
    assert in_flight(micro_tokens=64, model_config=deep) == 512
    assert in_flight(micro_tokens=64, model_config=deep, gradient_checkpointing=True) < 512
    assert in_flight(micro_tokens=256) == 256, "a tiny model's logits are nearly all of a step"
    assert in_flight(micro_tokens=1) >= 1
    assert in_flight(micro_tokens=MOST["cpu"]) == MOST["cpu"]
    assert in_flight(micro_tokens=1_000_000) == 1_000_000


def test_it_is_bounded_by_what_a_device_gains_from() -> None:
    deep = tiny_config(num_hidden_layers=100)
    for device, most in (*MOST.items(), ("mps", MOST_ELSEWHERE)):
        tokens = in_flight(["xentropy"], micro_tokens=256, device=device, model_config=deep)
        assert tokens == min(most, 16 * 256)


def test_its_memory_is_within_that_of_a_step() -> None:
    """Of a kernel that holds all logits at once, it is the logits that decide."""
    selection = select({})
    wide = tiny_config(vocab=50_000)
    run = run_context(strategies=selection.strategies, model_config=wide, micro_tokens=64)
    tokens = tokens_in_flight(run, selection)
    shape = memory_shape(run)
    step = activation_bytes(run, shape) + 64 * shape.vocab * 12
    assert tokens * shape.vocab * 12 <= step
    assert tokens == 64, "logits are nearly all of it"


def test_another_model_that_is_wider_has_less_in_flight() -> None:
    own = run_context(micro_tokens=64)
    wider = run_context(
        micro_tokens=64, model_config=tiny_config(hidden_size=4096, intermediate_size=16384)
    )
    assert in_flight(micro_tokens=64, other=own) > in_flight(micro_tokens=64, other=wider) == 64


def test_another_model_that_takes_more_than_a_step_leaves_room_for_no_more() -> None:
    """As beside 4-bit weights: what the reference holds counts, and not its passes alone."""
    deep = tiny_config(num_hidden_layers=24)
    own = run_context(micro_tokens=64, model_config=deep)

    def beside(held: int) -> int:
        return in_flight(micro_tokens=64, model_config=deep, other=own, held=held)

    selection = select({})
    run = run_context(strategies=selection.strategies, model_config=deep, micro_tokens=64)
    parts = estimate_memory(run, selection)
    step = sum(parts.values()) - parts["optimizer"]  # its states may be paged out
    assert beside(0) == beside(step // 4) == 512
    assert beside(step) == beside(10 * step) == 64
    nearly = step - forward_bytes(run, replace(memory_shape(run), micro_tokens=128))
    assert beside(nearly) == 128
    assert beside(nearly + 1) == 64


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_16_bits_held_out_data_is_cut_as_evaluation_is(dtype: str) -> None:
    deep = tiny_config(num_hidden_layers=24)
    assert in_flight(micro_tokens=64, model_config=deep, dtype=dtype) == 512
    run = run_context(micro_tokens=64, model_config=deep, dtype=dtype)
    assert tokens_of_held_out(run, 512) == 64
    assert tokens_of_held_out(run_context(micro_tokens=64), 512) == 512


class Device:
    """Gives each target its id, and has room for so many tokens."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def __call__(self, batch: Batch) -> torch.Tensor:
        self.sizes.append(batch.tokens)
        if batch.tokens > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch.targets.double()


def told(device: Device, tokens: int, rows: Sequence[int]) -> dict[int, torch.Tensor]:
    return Forward(EXAMPLES, device, "cpu", tokens, SilentReporter())(rows)


def expected(row: int) -> torch.Tensor:
    example = EXAMPLES[row]
    ids = [
        token
        for segment in example.segments
        for token, wanted in zip(segment.ids, segment.supervised, strict=True)
        if wanted
    ]
    return torch.tensor(ids, dtype=torch.float32)


@pytest.mark.parametrize("share", [1.0, 0.6, 0.3, 0.0])
def test_out_of_memory_means_smaller_pieces_and_the_same_values(share: float) -> None:
    rows = random.Random(1).sample(range(12), 9)
    whole = sum(EXAMPLES[row].tokens for row in rows)
    longest = max(EXAMPLES[row].tokens for row in rows)
    device = Device(max(longest, int(whole * share)))
    values = told(device, 10_000, rows)
    assert sorted(values) == sorted(rows)
    for row, value in values.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, expected(row))
    assert device.sizes[0] == whole
    assert (len(device.sizes) == 1) == (share == 1.0)


def test_what_did_not_fit_is_not_tried_again() -> None:
    device = Device(sum(example.tokens for example in EXAMPLES[:2]))
    forward = Forward(EXAMPLES, device, "cpu", 10_000, SilentReporter())
    forward(range(6))
    device.sizes.clear()
    forward(range(6, 12))
    assert max(device.sizes) <= device.room


def test_an_example_that_does_not_fit_alone_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        told(Device(1), 10_000, range(3))


def test_it_is_said_how_many_are_left() -> None:
    notes: list[str] = []
    reporter = SimpleNamespace(note=notes.append)
    device = Device(max(example.tokens for example in EXAMPLES))
    forward = Forward(EXAMPLES, device, "cpu", 10_000, reporter)  # type: ignore[arg-type]
    forward(range(12))
    assert notes
    assert str(forward.tokens) in notes[-1]


@pytest.mark.parametrize("any_cut", [True, False])
def test_what_was_cut_otherwise_than_asked_is_kept_where_the_cut_changes_nothing(
    any_cut: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 16 bits, after the memory was full, no entry says that it was computed as was asked."""
    monkeypatch.setenv("ANIMA_CACHE", str(tmp_path))
    monkeypatch.setattr(reference, "PART_SECONDS", 0.0)
    longest = max(example.tokens for example in EXAMPLES)
    asked = reference.Asked(
        EXAMPLES, range(12), {"made": "for a test"}, "cpu", 2 * longest, any_cut=any_cut
    )
    notes: list[str] = []
    reporter = SilentReporter()
    monkeypatch.setattr(reporter, "note", notes.append)

    class FullAtThe(Device):
        """Has no room for the third batch and larger ones."""

        def __call__(self, batch: Batch) -> torch.Tensor:
            if len(self.sizes) == 2:
                self.room = batch.tokens - 1
            return super().__call__(batch)

    device = FullAtThe(10_000)
    starts = reference.starts_of([example.supervised for example in EXAMPLES])
    entry = reference.ReferenceEntry(asked.facts, starts)
    with stop_signals() as stop:
        found = reference.reference_for(asked, lambda: device, reporter, stop)
    batch = collate(EXAMPLES, range(12))
    assert torch.equal(found.of(batch), batch.targets.float())
    assert len(device.sizes) > 3
    assert (entry.read() is not None) == any_cut
    before = sum(device.sizes[:2])
    kept = sum(EXAMPLES[row].tokens for row in entry.read_parts()[0])
    assert kept == (0 if any_cut else before), "whole micro-batches from before are as asked"
    assert any("not all kept" in note for note in notes) != any_cut
