"""A loss that names its reference in a way that cannot be followed is refused by the plan."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

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
