"""Where a run starts beside its reference: with an adapter, as a whole model, and in 16 bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reference_passes import Listener, Trace

import anima_core
from anima_core.testing import save_tiny
from anima_core.training.module import LogpsModule
from anima_core.training.reference_pass import Forward

pytest.importorskip("anima_dpo")
pytest.importorskip("anima_qlora")


def test_lora_that_goes_on_from_a_run_is_compared_with_its_start(
    train: Callable[..., Trace], tiny_dir: Path, sft_file: Path, tmp_path: Path
) -> None:
    for name, rate in (("start", 1e-1), ("other", 5e-2)):
        anima_core.adapt(
            tiny_dir, sft_file, output=tmp_path / name, strategies={"lora": {}}, steps=2,
            learning_rate=rate, batch_size=4, dtype="float32",
        )  # fmt: skip
    strategies: dict[str, Any] = {"dpo": {}}
    losses = train(model=tmp_path / "start", strategies=strategies)
    assert losses[0][0] == pytest.approx(0.6931472, abs=1e-5), "the adapter is on: no margin yet"
    other = Listener()
    train(other, model=tmp_path / "other", strategies=strategies)
    assert other.computed == 8, "another start is another reference"


def test_a_whole_model_that_was_trained_is_its_own_reference(
    train: Callable[..., Trace], tiny_dir: Path, sft_file: Path, tmp_path: Path
) -> None:
    anima_core.adapt(
        tiny_dir, sft_file, output=tmp_path / "start", steps=2, learning_rate=1e-2, batch_size=4,
        dtype="float32",
    )  # fmt: skip
    for model in (tmp_path / "start", tmp_path / "start" / "model"):
        listener = Listener()
        losses = train(listener, model=model, strategies={"dpo": {}}, learning_rate=1e-3)
        assert listener.computed == 8
        assert losses[0][0] == pytest.approx(0.6931472, abs=1e-5)
        assert losses[-1][0] != losses[0][0]


def test_in_16_bits_held_out_pairs_start_where_their_reference_is(
    train: Callable[..., Trace], pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounding depends on the cut there, so reference and evaluation are cut alike."""
    cuts: list[tuple[int, ...]] = []
    forward = LogpsModule.forward

    def watched(self: Any, batch: Any, *given: Any) -> Any:
        if not self.training:
            cuts.append(tuple(batch.rows))
        return forward(self, batch, *given)

    monkeypatch.setattr(LogpsModule, "forward", watched)
    model = save_tiny(tmp_path / "deep", num_hidden_layers=4)  # in float32 it has more in flight
    held_out = str(pairs_file)
    train(model=model, dtype="bfloat16", micro_tokens=40, steps=1, batch_size=1, eval_data=held_out)
    held = (len(cuts) - 1) // 3  # the reference's, one for the step's pair, evaluation's twice
    assert held > 1
    assert cuts[:held] == cuts[held + 1 : 2 * held + 1] == cuts[2 * held + 1 :]
    lines = (tmp_path / "run0" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    assert [first[f"eval_{name}"] for name in ("kl", "margin", "accuracy")] == [0.0, 0.0, 0.5]


@pytest.mark.parametrize(("dtype", "kept"), [("float32", True), ("bfloat16", False)])
def test_what_a_full_memory_made_of_a_pass_is_not_kept_in_16_bits(
    train: Callable[..., Trace], monkeypatch: pytest.MonkeyPatch, dtype: str, kept: bool
) -> None:
    at_once = Forward._at_once

    def full(self: Forward, rows: Any) -> Any:
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return at_once(self, rows)

    with monkeypatch.context() as patched:
        patched.setattr(Forward, "_at_once", full)
        train(first := Listener(), dtype=dtype, micro_tokens=200, steps=2)
    train(second := Listener(), dtype=dtype, micro_tokens=200, steps=2)
    assert first.heard("the device's memory is full")
    assert first.heard("not all kept") != kept
    assert second.heard("read from the cache") == kept
