"""What the comparison with TRL makes of seconds: with the reference and without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The harness, which its scripts find in their own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from harness import sides, table

    return SimpleNamespace(sides=sides, table=table)


@pytest.fixture
def measured(harness: Any) -> Callable[..., Any]:
    """A run of one warm-up step and two timed ones, 4 pairs each."""

    def measured(seconds: float, *, inside: float = 0.0, before: float = 0.0) -> Any:
        warm = harness.sides.Step(100.0, 10, 0.7, inside)
        timed = harness.sides.Step(seconds, 10, 0.7, inside)
        return harness.sides.Measured((warm, timed, timed), 4, 200.0, 1000, before)

    return measured


def test_a_reference_pass_before_is_borne_by_the_timed_steps(measured: Callable[..., Any]) -> None:
    run = measured(2.0, before=3.0)
    assert run.examples_per_second == pytest.approx(8 / 4)
    assert run.examples_per_second_with_reference == pytest.approx(8 / (4 + 2))


def test_a_reference_in_the_steps_is_taken_out(measured: Callable[..., Any]) -> None:
    run = measured(2.0, inside=0.4)
    assert run.examples_per_second == pytest.approx(8 / 3.2)
    assert run.examples_per_second_with_reference == pytest.approx(8 / 4)


def test_the_table_and_the_ratios_have_both(harness: Any, measured: Callable[..., Any]) -> None:
    results = {"Anima": [measured(1.0, before=1.5)], "TRL": [measured(4.0, inside=1.0)]}
    head, _, first, second = harness.table.table(results, unit="pairs/s").splitlines()
    assert head.startswith("| | pairs/s without the reference | pairs/s with it |")
    assert first.startswith("| Anima | 4.000 | 2.667 |")
    assert second.startswith("| TRL | 1.333 | 1.000 |")
    assert harness.table.ratios(results, unit="pairs/s")["TRL"] == {
        "speed": pytest.approx(3.0),
        "speed_with_reference": pytest.approx(8 / 3),
        "memory": 1.0,
    }
    assert "reference" not in harness.table.table(results, unit="tokens/s")
    assert set(harness.table.ratios(results, unit="tokens/s")["TRL"]) == {"speed", "memory"}


def test_what_both_sides_leave_is_read(harness: Any, tmp_path: Path) -> None:
    sides = harness.sides
    job = sides.Job("dpo", tmp_path, tmp_path, 1, 4, 1024, 1e-6)
    finished = SimpleNamespace(seconds=9.0, peak_bytes=7)
    step = {"seconds": 2.0, "tokens": 30, "loss": 0.7}
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text(json.dumps({"eval_loss": 1.0}) + "\n" + json.dumps(step))
    (run / "manifest.json").write_text(json.dumps({"reference_seconds": {"training": 1.5}}))
    ours = sides.Anima(Path("python"), []).read(job, tmp_path, finished)
    assert (ours.reference_seconds, ours.steps[0].reference_seconds) == (1.5, 0.0)
    (run / "manifest.json").write_text("{}")
    assert sides.Anima(Path("python"), []).read(job, tmp_path, finished).reference_seconds == 0.0
    told = {"steps": [{**step, "reference_seconds": 0.5}], "reference_seconds": 0.0}
    (tmp_path / "result.json").write_text(json.dumps(told))
    theirs = sides.Trl(Path("python"), "default", "float32", 2).read(job, tmp_path, finished)
    assert (theirs.reference_seconds, theirs.steps[0].reference_seconds) == (0.0, 0.5)
