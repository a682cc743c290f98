"""Whole runs: a reference computed now, read from the cache or resumed half-way is the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import anima_core
from anima_core.errors import InterruptedRunError
from anima_core.runs.reporter import SilentReporter
from anima_core.testing import save_tiny
from anima_core.training import reference
from anima_core.training.module import LogpsModule
from anima_core.training.reference_cache import FILE
from anima_core.training.reference_pass import Forward

pytest.importorskip("anima_dpo")
pytest.importorskip("anima_qlora")

Trace = list[tuple[float, float]]


class Listener(SilentReporter):
    """Notes what is said, and how a pass goes; interrupts it after so many micro-batches."""

    def __init__(self, stop_after: int = -1) -> None:
        self.said: list[str] = []
        self.told: list[int] = []
        self.stop_after = stop_after

    def note(self, text: str) -> None:
        self.said.append(text)

    warn = note

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:  # type: ignore[override]
        if name != "reference log-probs":
            yield lambda _: None
            return

        def tell(units: int) -> None:
            self.told.append(units)
            if len(self.told) == self.stop_after + 1:  # the first says what was there
                os.kill(os.getpid(), signal.SIGINT)

        yield tell
        assert sum(self.told) == total

    @property
    def computed(self) -> int:
        """Examples computed in this run's pass."""
        return sum(self.told[1:])

    def heard(self, words: str) -> bool:
        return any(words in text for text in self.said)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANIMA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reference"


@pytest.fixture
def train(tiny_dir: Path, pairs_file: Path, tmp_path: Path, cache: Path) -> Callable[..., Trace]:
    del cache
    runs = iter(range(100))

    def train(
        listener: Listener | None = None,
        *,
        model: Path = tiny_dir,
        data: Path = pairs_file,
        strategies: dict[str, Any] | None = None,
        **options: Any,
    ) -> Trace:
        output = tmp_path / f"run{next(runs)}"
        anima_core.adapt(
            model, data, output=output, reporter=listener or Listener(),
            strategies={"lora": {}, "dpo": {}} if strategies is None else strategies,
            **{"steps": 3, "batch_size": 4, "micro_tokens": 3, "dtype": "float32",
               "device": "cpu", "learning_rate": 1e-2, **options},
        )  # fmt: skip
        lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [(r["loss"], r["grad_norm"]) for r in map(json.loads, lines) if "loss" in r]

    return train


FULL: dict[str, Any] = {"full": {}, "dpo": {}}


@pytest.mark.parametrize("strategies", [{"lora": {}, "dpo": {}}, FULL], ids=["lora", "full"])
def test_computed_read_or_resumed_gives_the_same_losses_bit_for_bit(
    train: Callable[..., Trace], cache: Path, strategies: dict[str, Any]
) -> None:
    first = Listener()
    whole = train(first, strategies=strategies)
    assert first.computed == 8
    assert len(first.told) > 4, "the pass must have some micro-batches to be broken off between"
    read = Listener()
    assert train(read, strategies=strategies) == whole
    assert read.heard("read from the cache")
    assert not read.told
    for after in (0, 1, len(first.told) - 3):
        for folder in cache.iterdir():
            _remove(folder)
        broken, resumed = Listener(after), Listener()
        with pytest.raises(InterruptedRunError) as caught:
            train(broken, strategies=strategies)
        assert "go on from here" in caught.value.fix
        assert (len(list(cache.glob("*.parts"))) == 1) == (after > 0)
        assert train(resumed, strategies=strategies) == whole
        assert resumed.told[0] == broken.computed
        assert resumed.computed == 8 - broken.computed
        assert [path.suffix for path in cache.iterdir()] == [""], "the parts are removed"


def test_a_killed_pass_goes_on_where_it_was(
    train: Callable[..., Trace], cache: Path, tiny_dir: Path, pairs_file: Path, tmp_path: Path
) -> None:
    words = f"""
        import os, signal, sys
        from contextlib import contextmanager
        import anima_core
        from anima_core.runs.reporter import SilentReporter
        from anima_core.training import reference
        reference.PART_SECONDS = 0.0

        class Killer(SilentReporter):
            @contextmanager
            def stage(self, name, total):
                told = []
                def tell(units):
                    told.append(units)
                    if name == "reference log-probs" and len(told) == 4:
                        os.kill(os.getpid(), signal.SIGKILL)
                yield tell

        anima_core.adapt(
            {str(tiny_dir)!r}, {str(pairs_file)!r}, output={str(tmp_path / "killed")!r},
            reporter=Killer(), strategies={{"lora": {{}}, "dpo": {{}}}}, steps=3, batch_size=4,
            micro_tokens=3, dtype="float32", device="cpu", learning_rate=1e-2,
        )
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(cache.glob("*.parts/*.safetensors"))) >= 2
    resumed = Listener()
    trace = train(resumed)
    assert 0 < resumed.told[0] < 8
    assert resumed.computed == 8 - resumed.told[0]
    assert train(cache=False) == trace


def test_micro_batches_that_are_cut_otherwise_agree_to_rounding(
    train: Callable[..., Trace], cache: Path
) -> None:
    whole = train()
    fine, coarse = Listener(), Listener()
    by_cut = []
    for listener, tokens in ((fine, 1), (coarse, 100_000)):
        for folder in cache.iterdir():
            _remove(folder)
        by_cut.append(train(listener, micro_tokens=tokens))
    assert len(fine.told) > len(coarse.told) == 2
    for (loss, _), *others in zip(whole, *by_cut, strict=True):
        assert [other[0] for other in others] == pytest.approx([loss, loss], abs=1e-5)


def test_a_pass_that_goes_on_with_another_cut_agrees_to_rounding(
    train: Callable[..., Trace],
) -> None:
    with pytest.raises(InterruptedRunError):
        train(Listener(2), micro_tokens=4)
    resumed = Listener()
    trace = train(resumed, micro_tokens=7)
    assert resumed.told[0] > 0
    for (loss, _), (other, _) in zip(trace, train(cache=False, micro_tokens=7), strict=True):
        assert loss == pytest.approx(other, abs=1e-5)


def test_without_a_cache_nothing_is_read_or_kept(train: Callable[..., Trace], cache: Path) -> None:
    first, second = Listener(), Listener()
    assert train(first, cache=False) == train(second, cache=False)
    assert first.computed == second.computed == 8
    assert not cache.exists()
    with pytest.raises(InterruptedRunError):
        train(Listener(2), cache=False)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 7}, "--seed 42, not 7:"),
        (
            {"max_length": 30, "overlong": "drop"},
            "--max-length 512, not 30, --overlong error, not drop:",
        ),
        ({"dtype": "bfloat16"}, "--dtype float32, not bfloat16:"),
        ({"steps": 1}, "other examples of it:"),
        ({"strategies": {"lora": {"r": 3}, "dpo": {}}}, "--lora.r 16, not 3:"),
        ({"strategies": {"full": {}, "dpo": {}}}, "a run without --full, a run with --lora:"),
        ({"strategies": {"lora": {}, "dpo": {"beta": 0.3}}}, ""),
        ({"data": "other.jsonl"}, ""),
    ],
)
def test_it_is_said_how_the_run_differs_from_one_that_is_cached(
    train: Callable[..., Trace], pairs_file: Path, tmp_path: Path, change: dict, words: str
) -> None:
    if "data" in change:
        change = {"data": tmp_path / change["data"]}
        change["data"].write_bytes(pairs_file.read_bytes()[:-1])
    train(first := Listener())
    assert not first.heard("cached for")
    train(second := Listener(), **change)
    assert second.heard(f"reference log-probs are cached for {words}") == bool(words)


def test_held_out_data_is_not_told_of_as_another_part_of_the_data(
    train: Callable[..., Trace],
) -> None:
    for seed, cached in ((0, False), (1, True)):
        train(listener := Listener(), steps=1, eval_fraction=0.5, seed=seed)
        assert listener.heard("reference log-probs are cached for") == cached
        assert listener.heard("reference log-probs of held-out data are cached for") == cached


def test_the_manifest_says_how_long_it_took(
    train: Callable[..., Trace], sft_file: Path, pairs_file: Path, tmp_path: Path
) -> None:
    train(steps=1)
    train(steps=1, eval_data=str(pairs_file))
    train(steps=1, data=sft_file, strategies={"lora": {}})
    runs = (tmp_path / name / "manifest.json" for name in ("run0", "run1", "run2"))
    alone, both, none = (json.loads(run.read_text()).get("reference_seconds") for run in runs)
    assert set(alone) == {"training"}
    assert set(both) == {"training", "held_out"}
    assert all(seconds > 0 for seconds in both.values())
    assert none is None


def test_a_damaged_entry_is_made_anew_with_a_note(train: Callable[..., Trace], cache: Path) -> None:
    whole = train()
    (folder,) = cache.iterdir()
    data = bytearray((folder / FILE).read_bytes())
    data[-1] ^= 1
    (folder / FILE).write_bytes(data)
    again = Listener()
    assert train(again) == whole
    assert again.heard("cannot be used")
    assert again.computed == 8
    last = Listener()
    train(last)
    assert last.heard("read from the cache"), "what was made anew is kept"


def test_a_damaged_part_is_computed_again(
    train: Callable[..., Trace], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "PART_SECONDS", 0.0)
    with pytest.raises(InterruptedRunError):
        train(Listener(3))
    one, *others = sorted(cache.glob("*.parts/*.safetensors"))
    assert others
    data = bytearray(one.read_bytes())
    data[-1] ^= 1
    one.write_bytes(data)
    resumed = Listener()
    trace = train(resumed)
    assert resumed.heard("1 parts")
    assert 0 < resumed.told[0] < 8
    assert trace == train(cache=False)


def test_parts_of_another_configuration_are_never_used(
    train: Callable[..., Trace], cache: Path
) -> None:
    with pytest.raises(InterruptedRunError):
        train(Listener(2))
    (parts,) = cache.glob("*.parts")
    (part,) = parts.iterdir()
    with pytest.raises(InterruptedRunError):
        train(Listener(1), seed=7)
    (other,) = set(cache.glob("*.parts")) - {parts}
    part.rename(other / part.name)
    resumed = Listener()
    train(resumed, seed=7)
    assert resumed.heard("1 parts")
    assert resumed.told[0] < 3


def test_two_passes_at_once_disturb_neither(train: Callable[..., Trace], cache: Path) -> None:
    """A second run begins, and ends, between two micro-batches of the first."""
    inner = Listener()
    traces = []

    class Outer(Listener):
        @contextmanager
        def stage(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:  # type: ignore[override]
            with super().stage(name, total) as tell:

                def twice(units: int) -> None:
                    tell(units)
                    if name == "reference log-probs" and len(self.told) == 3:
                        traces.append(train(inner))

                yield twice

    outer = Outer()
    traces.append(train(outer))
    assert inner.computed == outer.computed == 8
    assert traces[0] == traces[1] == train()
    assert [path.suffix for path in cache.iterdir()] == [""]


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


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
