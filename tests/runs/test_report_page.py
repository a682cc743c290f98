"""The page about a run, and what it says of held-out data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from anima_core.runs.charts import MOST, chart, thinned
from anima_core.runs.folder import RunFolder
from anima_core.runs.held_out import changes, told
from anima_core.runs.report import write_report

EVALUATIONS = [
    {"step": 0, "eval_loss": 0.6931, "eval_margin": 0.0, "eval_accuracy": 0.5, "eval_kl": 0.0},
    {"step": 2, "eval_loss": 0.65, "eval_margin": 0.2, "eval_accuracy": 0.6, "eval_kl": 0.1},
    {"step": 4, "eval_loss": 0.5, "eval_margin": 1.25, "eval_accuracy": 0.8, "eval_kl": 0.2},
]


def steps(count: int) -> list[dict[str, Any]]:
    return [
        {"step": n, "loss": 1 / n, "learning_rate": 1e-4, "grad_norm": 2.0, "examples": 8}
        | {"rewards_chosen": 0.1 * n, "rewards_rejected": -0.1 * n, "margin": 0.2 * n}
        | {"accuracy": 0.75, "seconds": 1.0, "tokens": 10}
        for n in range(1, count + 1)
    ]


@pytest.fixture
def page(tmp_path: Path) -> str:
    folder = RunFolder(tmp_path / "run")
    problem = {"where": "data", "what": "odd <pairs>", "fix": "Mend.", "level": "warning"}
    plan = {"slots": [], "data": {}, "problems": [problem, problem | {"level": "note"}]}
    plan["headline"] = ["accuracy", "margin"]
    folder.create("", {"plan": plan, "model": {"given": "tiny"}, "created": "", "versions": {}})
    for record in (EVALUATIONS[0], *steps(4), EVALUATIONS[2]):
        folder.metrics(record)
    folder.warn(3, "the margin explodes")
    write_report(folder)
    return (tmp_path / "run/report.html").read_text("utf-8")


def test_the_page_draws_every_metric_of_the_loss_its_headline_first(page):
    titles = re.findall(r"aria-label='(.*?) by step'", page)
    assert titles == ["loss", "accuracy", "margin", "rewards", "grad_norm"]
    assert "rewards_chosen" in page
    assert page.count("<circle") == 2 * 3, "loss, accuracy and margin have two evaluations each"


def test_the_page_has_the_warnings_of_the_plan_and_of_the_run(page):
    whole = page.partition("<h2>Warnings</h2>")[2].partition("<h2>")[0]
    assert "odd &lt;pairs&gt;" in whole
    assert "step 3" in whole
    assert "the margin explodes" in whole
    assert whole.count("<tr>") == 3, "a note is no warning"


def test_the_page_says_what_was_before_and_after(page):
    whole = page.partition("before and after</h2>")[2].partition("<h2>")[0]
    assert "<td>accuracy</td><td>0.5</td><td>0.8</td>" in whole
    assert "<td>margin</td><td>0</td><td>1.25</td>" in whole


def test_changes_are_of_the_first_and_last_evaluation():
    found = changes([*steps(2), *EVALUATIONS], ("accuracy", "margin"))
    assert [tuple(change) for change in found] == [
        ("loss", 0.6931, 0.5),
        ("accuracy", 0.5, 0.8),
        ("margin", 0.0, 1.25),
    ]
    assert told(found) == (
        "held-out data, before → after: loss 0.6931 → 0.5, accuracy 0.5 → 0.8, margin 0 → 1.25"
    )
    assert [change.name for change in changes(EVALUATIONS, ())][-1] == "kl"


@pytest.mark.parametrize("rows", [[], EVALUATIONS[:1], EVALUATIONS[1:]])
def test_there_is_no_change_without_a_before_and_an_after(rows):
    assert changes([*rows, *steps(3)], ()) == []


def test_many_points_are_drawn_as_means_that_reach_the_last_step():
    points = [(n, float(n % 7)) for n in range(1, 10 * MOST + 2)]
    few = thinned(points)
    assert len(few) <= MOST
    assert few[-1][0] == points[-1][0]
    assert few[0][1] == pytest.approx(sum(v for _, v in points[:11]) / 11)
    assert thinned(points[:MOST]) == points[:MOST]


def test_a_drawing_keeps_within_its_frame_and_marks_a_lonely_point():
    drawn = chart("<odd>", {"a": [(1, 2.0)], "b": [(1, 5.0), (9, -3.0)]}, {"a": [(9, 9.0)]})
    numbers = [tuple(map(float, spot.split(","))) for spot in re.findall(r"[\d.]+,[\d.]+", drawn)]
    assert all(0 <= x <= 400 and 0 <= y <= 170 for x, y in numbers)
    assert drawn.count("<circle") == 2
    assert "<odd>" not in drawn
    assert "held-out" in drawn
