"""The learning-rate schedule."""

from __future__ import annotations

import math

import pytest

from anima_core.training.optimizer import schedule_factor, warmup_steps


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_no_step_is_taken_with_a_rate_of_zero(schedule: str) -> None:
    for total in (1, 2, 4, 100):
        for warmup in (0, 1, total - 1):
            assert all(schedule_factor(schedule, s, warmup, total) > 0 for s in range(total))


def test_shapes() -> None:
    assert [schedule_factor("linear", s, 2, 6) for s in range(6)] == pytest.approx(
        [1 / 3, 2 / 3, 1, 0.75, 0.5, 0.25]
    )
    assert schedule_factor("cosine", 3, 0, 6) == pytest.approx(0.5)
    assert schedule_factor("cosine", 1, 0, 6) == pytest.approx(0.5 * (1 + math.cos(math.pi / 6)))
    assert schedule_factor("constant", 5, 2, 6) == 1.0


def test_warmup_is_a_fraction_or_a_number_of_steps() -> None:
    assert warmup_steps(0.03, 100) == 3
    assert warmup_steps(0.03, 10) == 1
    assert warmup_steps(7, 100) == 7
    assert warmup_steps(0, 100) == 0
