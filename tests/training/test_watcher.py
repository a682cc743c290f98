"""What a loss says of its run: told once, kept, and never in the run's way."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from anima_core.runs.folder import RunFolder
from anima_core.runs.reporter import SilentReporter
from anima_core.training.watcher import WINDOW, Watcher


class Ear(SilentReporter):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def warn(self, text: str) -> None:
        self.heard.append(text)


class Loss:
    """Says what it was made to say, and keeps what it was shown."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.shown: list[Sequence[Mapping[str, float]]] = []

    def warnings(self, history: Sequence[Mapping[str, float]]) -> Any:
        self.shown.append(history)
        answer = self.answers[min(len(self.shown), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    made.create("", {"plan": {}, "created": "today"})
    return made


def watch(loss: Any, folder: RunFolder, ear: Ear, count: int = 3, start: int = 0) -> None:
    watcher = Watcher(loss, "mine (third-party 1.0)", folder, ear)
    for step in range(start + 1, start + count + 1):
        record = {"step": step, "loss": 1.0 / step}
        folder.metrics(record)
        watcher.see(record)


def kept(folder: RunFolder) -> list[dict[str, Any]]:
    warnings: list[dict[str, Any]] = json.loads((folder.path / "manifest.json").read_text("utf-8"))[
        "warnings"
    ]
    return warnings


def test_a_text_is_told_once_and_kept_with_its_step(folder):
    ear = Ear()
    watch(Loss([], ["margin 7.5 explodes"], ["margin 8.1 explodes", "falls"]), folder, ear)
    assert ear.heard == ["margin 7.5 explodes", "falls"]
    assert kept(folder) == [
        {"step": 2, "text": "margin 7.5 explodes"},
        {"step": 3, "text": "falls"},
    ]
    folder.mark("done")
    assert len(kept(folder)) == 2


def test_a_loss_is_shown_all_records_in_order_as_numbers(folder):
    loss = Loss([])
    watcher = Watcher(loss, "mine", folder, Ear())
    watcher.see({"step": 0, "eval_loss": 0.7})
    watcher.see({"step": 1, "loss": 0.5, "grad_norm": None, "skipped": True, "odd": math.nan})
    assert list(loss.shown[-1]) == [{"step": 0, "eval_loss": 0.7}, {"step": 1, "loss": 0.5}]


def test_only_the_last_records_are_kept(folder):
    loss = Loss([])
    watch(loss, folder, Ear(), count=WINDOW + 5)
    assert len(loss.shown[-1]) == WINDOW
    assert loss.shown[-1][-1]["step"] == WINDOW + 5


@pytest.mark.parametrize("resumed", [False, True])
def test_evaluations_leave_as_many_steps_in_sight(folder, resumed):
    loss = Loss([])
    watcher = Watcher(loss, "mine", folder, Ear())
    folder.metrics({"step": 0, "eval_loss": 1.0})
    for step in range(1, WINDOW + 8):
        if resumed and step == WINDOW:
            watcher = Watcher(loss, "mine", folder, Ear())
        for name in ("loss", "eval_loss"):
            record = {"step": step, name: 1.0}
            watcher.see(record)
            folder.metrics(record)
    shown = loss.shown[-1]
    assert [record["step"] for record in shown if "loss" in record] == list(range(8, WINDOW + 8))
    assert next(record["step"] for record in shown if "eval_loss" in record) in (7, 8)
    assert shown[-1] == {"step": WINDOW + 7, "eval_loss": 1.0}


@pytest.mark.parametrize("answer", [ValueError("odd"), "one text", [1], None])
def test_a_loss_that_fails_is_told_of_and_asked_no_more(folder, answer):
    ear, loss = Ear(), Loss(answer)
    watch(loss, folder, ear)
    (text,) = ear.heard
    assert "mine (third-party 1.0)" in text
    assert "warnings" in text
    assert len(loss.shown) == 1
    assert kept(folder)[0]["step"] == 1


def test_a_loss_that_does_not_watch_costs_nothing(folder):
    ear = Ear()
    watch(object(), folder, ear)
    assert not ear.heard
    assert kept(folder) == []


def test_a_resumed_run_goes_on_with_what_was_there(folder):
    watch(Loss(["early"], [], ["late"]), folder, Ear())
    again = RunFolder(folder.path)
    again.reopen({"plan": {}}, step=2)
    ear, loss = Ear(), Loss(["early", "late"])
    watch(loss, again, ear, count=1, start=2)
    assert ear.heard == ["late"], "told before, and told only after the step that was resumed from"
    assert [record["step"] for record in loss.shown[0]] == [1, 2, 3]
    assert [(w["step"], w["text"]) for w in kept(again)] == [(1, "early"), (3, "late")]
