"""Steps that fill micro-batches, and the split of a step among processes."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anima_core.data.batching import Batches, micro_batches
from anima_core.data.dealing import WINDOW, deal, grain_of, share


def alpaca_like(count: int, seed: int = 0) -> list[int]:
    """Log-normal lengths with a mean of about 200 tokens, as instruction data has them."""
    draw = random.Random(seed)
    return [min(900, max(30, round(draw.lognormvariate(5.1, 0.65)))) for _ in range(count)]


def fill(batches: Batches, micro_tokens: int, steps: int) -> float:
    tokens = used = 0
    for step in range(steps):
        lengths = [batches.lengths[row] for row in batches.rows(step)]
        tokens += sum(lengths)
        used += len(micro_batches(lengths, micro_tokens))
    return tokens / (used * micro_tokens)


LENGTHS = st.lists(st.integers(1, 700), min_size=1, max_size=120)


@given(lengths=LENGTHS, size=st.integers(1, 9), seed=st.integers(0, 3), epoch=st.integers(0, 2))
def test_every_example_is_in_one_step_of_an_epoch(
    lengths: list[int], size: int, seed: int, epoch: int
) -> None:
    batches = Batches(lengths, size, seed, "full")
    steps = range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)
    made = [batches.rows(step) for step in steps]
    assert sorted(row for rows in made for row in rows) == list(range(len(lengths)))
    assert [len(rows) for rows in made[:-1]] == [size] * (len(made) - 1)
    # Any step by itself, as a run that resumes there asks for it.
    again = Batches(lengths, size, seed, "full")
    for step in reversed(steps):
        assert again.rows(step) == made[step - steps.start]


def test_the_seed_and_the_epoch_decide_the_order() -> None:
    lengths = alpaca_like(1000)
    one, other = (Batches(lengths, 8, seed, "full") for seed in (1, 2))
    assert one.rows(3) != other.rows(3)
    assert one.rows(3) != one.rows(3 + one.per_epoch)
    with pytest.raises(ValueError, match="steps count from 0"):
        one.rows(-1)


@pytest.mark.parametrize(("size", "micro_tokens"), [(16, 2048), (16, 1024), (32, 2048), (64, 4096)])
def test_micro_batches_are_full(size: int, micro_tokens: int) -> None:
    lengths = alpaca_like(5000)
    full = Batches(lengths, size, 42, "full")
    steps = len(lengths) // size
    filled = fill(full, micro_tokens, steps)
    assert filled > 0.95
    assert filled > fill(Batches(lengths, size, 42), micro_tokens, steps) + 0.02


def test_what_makes_up_a_step_is_as_random_as_its_tokens_allow() -> None:
    """Neighbours in the epoch's order are not kept together, nor are examples of one length."""
    lengths = alpaca_like(WINDOW * 16)
    made = [Batches(lengths, 16, 5, "full").rows(step) for step in range(WINDOW)]
    spans = [max(lengths[r] for r in rows) / min(lengths[r] for r in rows) for rows in made]
    assert sorted(spans)[WINDOW // 4] > 4
    sums = [sum(lengths[r] for r in rows) for rows in made]
    large = [total > 2048 for total in sums]
    assert sum(a != b for a, b in pairwise(large)) > WINDOW // 5  # large steps come in no row


def test_lengths_that_hardly_differ_leave_steps_alike() -> None:
    lengths = [1000 + n % 7 for n in range(640)]
    made = deal(lengths, 64, grain_of(10_030))
    sums = [sum(lengths[i] for i in step) for step in made]
    assert max(sums) - min(sums) <= 7
    assert sorted(i for step in made for i in step) == list(range(640))


def test_the_grain_is_a_power_of_two() -> None:
    assert [grain_of(n) for n in (0, 1, 2, 3, 2047, 2048, 3200)] == [0, 1, 2, 2, 1024, 2048, 2048]


@given(lengths=st.lists(st.integers(1, 500), max_size=40), world=st.integers(1, 5))
def test_processes_share_a_step_by_its_tokens(lengths: list[int], world: int) -> None:
    parts = [share(lengths, rank, world) for rank in range(world)]
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    assert all(parts) or len(lengths) < world
    loads = [sum(lengths[i] for i in part) for part in parts]
    # Before its last, shortest example the fullest had the least of all (Graham 1969).
    fullest = parts[loads.index(max(loads))]
    assert max(loads) - min((lengths[i] for i in fullest), default=0) <= min(loads)
