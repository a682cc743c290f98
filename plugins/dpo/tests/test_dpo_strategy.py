"""The strategy: its options, its entry point, and what it costs to import."""

from __future__ import annotations

import importlib.metadata

import pytest
from anima_dpo.dpo import Dpo
from anima_dpo.loss import DpoLoss
from anima_dpo.options import DpoOptions
from pydantic import ValidationError

from anima_core.testing import check_import_budget, check_strategy, run_context


def test_is_a_sound_strategy():
    check_strategy(Dpo)


def test_imports_no_torch():
    check_import_budget("anima_dpo.dpo")


def test_entry_point_leads_to_it():
    points = importlib.metadata.entry_points(group="anima.strategies", name="dpo")
    assert [point.load() for point in points] == [Dpo]


def test_options_reach_the_loss():
    loss = Dpo(DpoOptions(beta=0.25, label_smoothing=0.1)).loss(run_context())
    assert isinstance(loss, DpoLoss)
    assert (loss.options.beta, loss.options.label_smoothing) == (0.25, 0.1)


def test_defaults_are_the_papers():
    options = DpoOptions()
    assert (options.beta, options.label_smoothing) == (0.1, 0.0)
    assert Dpo.learning_rate == 5e-7


@pytest.mark.parametrize(
    "bad",
    [
        {"beta": 0},
        {"beta": -0.1},
        {"beta": float("inf")},
        {"beta": float("nan")},
        {"label_smoothing": -0.1},
        {"label_smoothing": 0.5},
        {"betta": 0.1},
    ],
    ids=str,
)
def test_senseless_options_are_refused(bad):
    with pytest.raises(ValidationError):
        DpoOptions(**bad)
