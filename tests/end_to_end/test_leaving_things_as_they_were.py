"""A run that cannot start, or is another than it was, leaves what was on disk as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Anima, rows
from .test_refusals import refused


@pytest.fixture
def base(tiny_dir: Path, sft_file: Path) -> tuple[object, ...]:
    return ("train", tiny_dir, sft_file, "--dtype", "float32")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_a_run_is_made_from_is_never_overwritten(
    anima: Anima, base: tuple[object, ...], sft_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    anima(*base, "--lora", "--steps", 1, "-o", run)
    before = contents(run)
    said = refused(anima, 2, "train", run, sft_file, "--steps", 1, "-o", run, "--overwrite")
    assert "--output" in said
    inside = run / "data.jsonl"
    inside.write_bytes(sft_file.read_bytes())
    refused(anima, 2, "train", base[1], inside, "--steps", 1, "-o", run, "--overwrite")
    inside.unlink()
    assert contents(run) == before


def test_a_run_that_fails_to_start_puts_its_predecessor_back(
    anima: Anima, base: tuple[object, ...], sft_file: Path, tmp_path: Path
) -> None:
    start, run = tmp_path / "start", tmp_path / "run"
    anima(*base, "--lora", "--steps", 1, "-o", start)
    anima(*base, "--lora", "--steps", 1, "-o", run)
    before = contents(run)
    words = ("train", start, sft_file, "--lora", "--lora.r", 4, "--steps", 1, "-o")
    assert "r" in refused(anima, 2, *words, run, "--overwrite")
    assert contents(run) == before
    refused(anima, 2, *words, tmp_path / "new")
    assert {p.name for p in tmp_path.iterdir()} == {"start", "run"}


def test_a_tracker_that_is_not_there_is_refused_before_anything_is_written(
    anima: Anima, base: tuple[object, ...], tmp_path: Path
) -> None:
    said = refused(anima, 2, *base, "--report-to", "nonsense", "-o", tmp_path / "run")
    assert "--report-to" in said
    assert not (tmp_path / "run").exists()


def test_resume_refuses_another_run_and_says_how_it_differs(
    anima: Anima, base: tuple[object, ...], pairs_file: Path, tmp_path: Path
) -> None:
    run, other = tmp_path / "run", tmp_path / "other.jsonl"
    words = (*base, "--lora", "--steps", 4, "--save-every", 2, "-o", run)
    anima(*words)
    before = contents(run)
    other.write_text('{"prompt": "a", "completion": "b"}\n')
    for changes, named in (
        (("--learning-rate", "1"), "--learning-rate was"),
        (("--seed", 7), "--seed was 42, not 7"),
        (("--lora.r", 4), "--lora.r was 16, not 4"),
        (("--paged-adamw",), "--paged-adamw did not take part"),
        (("--steps", 2), "step 4"),
    ):
        assert named in refused(anima, 2, *words, *changes, "--resume")
    swapped = [other if word == base[2] else word for word in words]
    assert "other data" in refused(anima, 2, *swapped, "--resume")
    assert contents(run) == before


def test_a_longer_resume_follows_the_longer_schedule(
    anima: Anima, base: tuple[object, ...], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = (*base, "--lora", "--save-every", 2, "-o", run)
    anima(*words, "--steps", 4)
    anima(*words, "--steps", 8, "--resume", "--micro-tokens", 50)
    metrics = rows(run / "metrics.jsonl")
    assert [row["step"] for row in metrics] == list(range(1, 9))
    assert all(row["learning_rate"] > 0 for row in metrics)
    assert metrics[4]["learning_rate"] == pytest.approx(2e-4 * (1 - 3 / 7))
    done = anima(*words, "--steps", 8, "--resume")
    assert json.loads((run / "manifest.json").read_text())["loss"] == metrics[-1]["loss"]
    assert done.returncode == 0


def test_a_length_past_the_window(anima: Anima, sft_file: Path, tmp_path: Path) -> None:
    from anima_core.testing import save_tiny

    learned = save_tiny(tmp_path / "gpt2", "gpt2")
    words = (sft_file, "--lora", "--steps", 1, "--max-length", 9999, "-o", tmp_path / "run")
    assert "512" in refused(anima, 2, "train", learned, *words)
    done = anima("plan", save_tiny(tmp_path / "llama"), *words)
    assert "--rope-scaling" in done.stdout


def test_an_option_that_does_nothing_is_said(
    anima: Anima, base: tuple[object, ...], tmp_path: Path
) -> None:
    done = anima("plan", *base[1:], "--eval-every", 2, "--sample-tokens", 4)
    assert "--eval-every" in done.stdout
    assert "--sample-tokens" in done.stdout
