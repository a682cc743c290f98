"""A run remembers from whom its strategies came, and needs those alone that made its model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anima_core.errors import UsageError
from anima_core.registry.selection import select
from anima_core.runs.inherit import model_strategies
from anima_core.runs.resuming import check_same_run


def manifest(*strategies: tuple[str, str, str]) -> dict[str, Any]:
    """As a run writes it, with strategies by name, distribution and slot."""
    return {
        "model": {},
        "plan": {"steps": 9},
        "options": {},
        "strategies": {
            name: {"distribution": dist, "version": "1.0", "slots": [slot], "options": {}}
            for name, dist, slot in strategies
        },
    }


def test_a_distribution_that_came_later_did_not_make_the_model(
    distribute: Callable[..., Path], good_strategy: str
) -> None:
    source = good_strategy.replace('("loss",)', '("load_tokenizer",)')
    source = source.replace("def loss(", "def load_tokenizer(")
    distribute("fake-b", source, {"twice": "Good"})
    made = manifest(("twice", "fake-a", "load_tokenizer"))
    with pytest.raises(UsageError, match=r"fake-a does not offer twice; fake-b 1\.0 does"):
        model_strategies(made)

    distribute("fake-a", source, {"twice": "Good"})
    (provider, *_) = select(model_strategies(made)).members
    assert (provider.strategy, provider.distribution) == ("twice", "fake-a")


def test_what_only_trained_it_need_not_be_there() -> None:
    assert (
        model_strategies(manifest(("focal", "gone", "loss"), ("fast", "gone", "optimizer"))) == {}
    )


def test_a_run_is_not_resumed_with_another_distributions_strategy() -> None:
    one, other = (manifest(("twice", dist, "loss")) for dist in ("fake-a", "fake-b"))
    check_same_run(one, one, 3)
    with pytest.raises(UsageError, match="--twice was of fake-a, not of fake-b"):
        check_same_run(one, other, 3)
