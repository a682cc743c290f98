"""What is left for a pass's last step, and the size that is advised in its stead."""

from __future__ import annotations

import re

import pytest
from anima_dpo.rest import Steps, small_rest

from anima_core.testing import run_context


def advised(examples: int, size: int, least: int = 2) -> int | None:
    """The size in the advice; None where nothing is said, 0 where it has none."""
    found = list(small_rest(examples, Steps(size), "why", least))
    if not found:
        return None
    number = re.search(r"--batch-size (\d+)", found[0].fix)
    return int(number[1]) if number else 0


@pytest.mark.parametrize(
    ("examples", "size", "small"),
    [
        (96, 32, False),  # none left
        (97, 32, True),
        (111, 32, True),  # 15
        (112, 32, False),  # 16, a half
        (31, 32, False),  # every step is this one
        (3, 32, False),
        (33, 32, True),
        (5, 1, False),
    ],
)
def test_less_than_half_a_step_is_little(examples, size, small):
    assert (advised(examples, size) is not None) == small


@pytest.mark.parametrize("size", [8, 16, 33, 128])
@pytest.mark.parametrize("examples", range(130, 180))
def test_the_size_that_is_advised_leaves_no_small_step(examples, size):
    other = advised(examples, size, 8)
    if other is not None:
        assert 8 <= other <= 2 * size
        assert advised(examples, other) is None


def test_a_run_that_ends_before_is_not_told():
    def left(**options: object) -> int:
        return Steps.of(run_context(batch_size=10, **options)).rest(23)

    assert left() == left(steps=3) == left(epochs=2.0) == 3
    assert left(steps=2) == left(epochs=0.5) == 0
