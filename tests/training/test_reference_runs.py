"""Whole runs: a reference computed now, read from the cache or resumed half-way is the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reference_passes import Listener, Trace

from anima_core.errors import InterruptedRunError

pytest.importorskip("anima_dpo")
pytest.importorskip("anima_qlora")

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


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
