from __future__ import annotations

import random
import subprocess
import sys
from itertools import permutations, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anima_core.data.batching import (
    Batches,
    epoch_order,
    micro_batches,
    step_rows,
    steps_per_epoch,
)

SIZES = st.integers(1, 60)


@given(count=SIZES, seed=st.integers(0, 2**40), epoch=st.integers(0, 5))
def test_an_epoch_is_a_permutation_and_repeats(count: int, seed: int, epoch: int) -> None:
    order = epoch_order(count, seed, epoch)
    assert sorted(order) == list(range(count))
    random.seed(0)
    epoch_order.cache_clear()
    assert epoch_order(count, seed, epoch) == order


def test_epochs_and_seeds_differ() -> None:
    orders = [epoch_order(50, seed, epoch) for seed in (1, 2, 11) for epoch in (0, 1, 2, 12)]
    assert len(set(orders)) == len(orders)


def test_the_global_rng_is_left_alone() -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)
    epoch_order.cache_clear()
    epoch_order(1234, 5, 6)
    assert random.random() == expected


def test_the_order_is_the_same_in_another_interpreter() -> None:
    code = "from anima_core.data.batching import epoch_order; print(epoch_order(40, 42, 3))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == str(epoch_order(40, 42, 3))


@given(count=SIZES, batch=st.integers(1, 70), seed=st.integers(0, 9))
def test_steps_walk_every_epoch_in_order(count: int, batch: int, seed: int) -> None:
    steps = steps_per_epoch(count, batch)
    for epoch in range(3):
        parts = [step_rows(count, batch, seed, epoch * steps + step) for step in range(steps)]
        assert tuple(row for part in parts for row in part) == epoch_order(count, seed, epoch)
        assert all(len(part) == batch for part in parts[:-1])
        assert 1 <= len(parts[-1]) <= batch


@pytest.mark.parametrize(("count", "batch", "step"), [(0, 1, 0), (3, 0, 0), (3, 1, -1)])
def test_impossible_steps_are_refused(count: int, batch: int, step: int) -> None:
    with pytest.raises(ValueError, match=r"at least one|count from 0"):
        step_rows(count, batch, 0, step)


@given(lengths=st.lists(st.integers(1, 40), max_size=50), limit=st.integers(1, 60))
def test_every_example_once_and_within_the_limit(lengths: list[int], limit: int) -> None:
    packed = micro_batches(lengths, limit)
    assert sorted(i for members in packed for i in members) == list(range(len(lengths)))
    for members in packed:
        assert members
        assert len(members) == 1 or sum(lengths[i] for i in members) <= limit
    assert micro_batches(lengths, limit) == packed


@given(lengths=st.lists(st.integers(1, 40), min_size=2, max_size=50), limit=st.integers(1, 60))
def test_no_two_micro_batches_could_be_one(lengths: list[int], limit: int) -> None:
    loads = [sum(lengths[i] for i in members) for members in micro_batches(lengths, limit)]
    assert all(a + b > limit for n, a in enumerate(loads) for b in loads[:n])


def test_packing_is_tight_where_a_greedy_order_is_not() -> None:
    assert len(micro_batches([3, 7, 3, 7, 5, 5], 10)) == 3


def test_a_long_example_goes_alone() -> None:
    assert micro_batches([4, 100, 4], 10) == [[1], [0, 2]]


def test_micro_batches_refuse_a_limit_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        micro_batches([1], 0)


def test_rows_seen_are_those_of_the_steps() -> None:
    batches = Batches([5] * 10, 4, 1)
    assert batches.seen(2) == sorted({*step_rows(10, 4, 1, 0), *step_rows(10, 4, 1, 1)})
    assert len(batches.seen(2)) == 8
    assert batches.seen(3) == batches.seen(99) == list(range(10))
    assert [batches.rows(step) for step in range(7)] == [step_rows(10, 4, 1, s) for s in range(7)]


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=9), limit=st.integers(1, 14))
def test_few_examples_take_as_few_micro_batches_as_there_can_be(
    lengths: list[int], limit: int
) -> None:
    """First fit over every order: one of them is a best packing."""
    fewest = min(map(_first_fit, permutations(lengths[:6]), repeat(limit)))
    assert fewest <= len(micro_batches(lengths[:6], limit)) <= fewest + (fewest > 2)


def _first_fit(lengths: tuple[int, ...], limit: int) -> int:
    room: list[int] = []
    for length in lengths:
        fit = next((b for b, free in enumerate(room) if length <= free), None)
        if fit is None:
            room.append(limit - length)
        else:
            room[fit] -= length
    return len(room)


def test_what_fills_micro_batches_best_is_found_where_best_fit_misses_it() -> None:
    lengths = [40, 27, 25, 23, 19, 13, 13, 8, 7, 5]  # 180 in all; best fit takes four
    packed = micro_batches(lengths, 60)
    assert sorted(sum(lengths[i] for i in members) for members in packed) == [60, 60, 60]


def test_many_examples_are_packed_at_once() -> None:
    lengths = random.Random(0).choices(range(20, 900), k=20_000)
    packed = micro_batches(lengths, 2048)
    assert sorted(i for members in packed for i in members) == list(range(20_000))
    assert len(packed) <= 1.01 * sum(lengths) / 2048
    assert max(lengths) in [lengths[i] for i in packed[0]]
