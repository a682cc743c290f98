"""A loss that names its reference in a way that cannot be followed is refused by the plan."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import anima_core
from anima_core import Options
from anima_core.runs.reference import reference_option, reference_problems
from anima_core.testing import run_context


class WithReference(Options):
    """Options that have one."""

    reference: str | None = None


def selection(options: Options) -> Any:
    provider = SimpleNamespace(strategy="mine")
    return SimpleNamespace(providers={"loss": provider}, strategies={"mine": options})


def problems(**loss: object) -> list[Any]:
    made: Any = SimpleNamespace(**{"uses_reference": True, **loss})
    return reference_problems(run_context(), selection(WithReference()), made, [])


def test_the_option_is_named_where_there_is_one() -> None:
    assert reference_option(selection(WithReference())) == "--mine.reference"
    assert reference_option(selection(Options())) == "--mine"


def test_a_loss_that_names_none_has_no_problem() -> None:
    assert problems() == []
    assert problems(reference_model=None) == []
    assert problems(uses_reference=False) == []


@pytest.mark.parametrize(
    ("loss", "what"),
    [
        ({"reference_model": "demo", "uses_reference": False}, "would do nothing"),
        ({"reference_model": 3}, "3, which names no model"),
        ({"reference_model": "./nowhere"}, "there is no model at './nowhere'"),
    ],
)
def test_what_cannot_be_followed_is_refused(loss: dict[str, object], what: str) -> None:
    (problem,) = problems(**loss)
    assert (problem.where, problem.level) == ("--mine.reference", "error")
    assert what in problem.what
    assert problem.fix


@pytest.mark.parametrize("place", ["adapter", "checkpoints/step-000003/adapter"])
def test_a_run_that_learnt_to_judge_is_no_reference(
    place: str, tiny_dir: Path, sft_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    anima_core.adapt(
        tiny_dir, sft_file, output=run, strategies={"lora": {}}, steps=1, dtype="float32"
    )
    given = run_context(model_dir=tiny_dir)
    made: Any = SimpleNamespace(uses_reference=True, reference_model=str(run))

    def found() -> list[Any]:
        return reference_problems(given, selection(WithReference()), made, [])

    assert found() == []
    (run / place).parent.mkdir(parents=True, exist_ok=True)
    (run / "adapter").rename(run / place)
    (run / place / "head").mkdir()
    (run / place / "head" / "head.safetensors").touch()
    if place != "adapter":
        (run / place).with_name("COMPLETE").touch()
    (problem,) = found()
    assert (problem.where, problem.level) == ("--mine.reference", "error")
    assert "learnt to judge text" in problem.what
    assert problem.fix
