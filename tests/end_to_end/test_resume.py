"""A run that was killed goes on as if nothing had happened."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from .conftest import Anima, rows, trace

STEPS = 24
STRATEGIES = (
    "--qlora", "--qlora.dropout", "0.1", "--paged-adamw", "--xentropy",
)  # fmt: skip


@pytest.fixture
def words(tiny_dir: Path, sft_file: Path) -> tuple[object, ...]:
    return (
        "train", tiny_dir, sft_file, *STRATEGIES, "--steps", STEPS, "--batch-size", 4,
        "--micro-tokens", 64, "--learning-rate", "1e-2", "--dtype", "float32", "--save-every", 3,
    )  # fmt: skip


def wait_for_step(run: Path, step: int) -> None:
    """Wait until a run's metrics hold a step."""
    metrics = run / "metrics.jsonl"
    for _ in range(3000):
        if metrics.is_file() and metrics.read_text().count("\n") >= step:
            return
        time.sleep(0.02)
    pytest.fail(f"{run} never came to step {step}")


@pytest.mark.parametrize("kill_after", [1, 7])
def test_sigkill_then_resume_gives_the_undisturbed_losses(
    anima: Anima, words: tuple[object, ...], tmp_path: Path, kill_after: int
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    anima(*words, "-o", whole)
    process = anima.start(*words, "-o", broken)
    wait_for_step(broken, kill_after)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(trace(broken)) < STEPS, "the run was over before it was killed"
    assert json.loads((broken / "manifest.json").read_text())["state"] == "running"
    assert not (broken / "adapter").exists()
    anima(*words, "-o", broken, "--resume")
    assert trace(broken) == trace(whole)
    assert len(trace(whole)) == STEPS
    assert json.loads((broken / "manifest.json").read_text())["state"] == "done"
    weights = "adapter/adapter_model.safetensors"
    assert (broken / weights).read_bytes() == (whole / weights).read_bytes()
    assert not [p for p in broken.rglob("*") if p.suffix in {".pt", ".bin", ".pkl", ".pth"}]


def test_sigterm_ends_the_step_saves_and_says_so(
    anima: Anima, words: tuple[object, ...], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = anima.start(*words, "-o", run)
    wait_for_step(run, 2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 143, said
    assert "--resume" in said
    assert "Traceback" not in said
    done = len(trace(run))
    assert (run / "checkpoints" / f"step-{done:06d}" / "COMPLETE").is_file()
    assert json.loads((run / "manifest.json").read_text())["state"] == "interrupted"
    anima(*words, "-o", run, "--resume")
    assert [step for step, _, _ in trace(run)] == list(range(1, STEPS + 1))


def test_resume_without_a_checkpoint_starts_at_step_0(
    anima: Anima, words: tuple[object, ...], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    anima(*words, "-o", run, "--steps", 2, "--save-every", 100)
    assert not (run / "checkpoints").exists()
    first = trace(run)
    anima(*words, "-o", run, "--steps", 2, "--save-every", 100, "--resume")
    assert trace(run) == first
    assert len(rows(run / "metrics.jsonl")) == 2
