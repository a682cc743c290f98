"""Which example's answer goes with a prompt, and what is known of the two without a look."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anima_core.batch import EncodedExample, Role, TokenSegment
from anima_core.data.batching import Batches, lengths_of
from anima_core.data.collate import collate
from anima_core.data.dataset import counts, parted, with_mismatched
from anima_core.data.mismatched import NONE, Mismatched, mismatched, others
from anima_core.data.store import Examples
from anima_core.runs.plan import DataSummary


def example(number: int, group: int, prompt: int, answer: int, good: bool) -> EncodedExample:
    """Every token of it says whose it is; the last one of an answer is no target."""
    role = Role.CHOSEN if good else Role.REJECTED
    mask = (True,) * max(1, answer - 1) + (False,) * (answer > 1)
    return EncodedExample(
        (
            TokenSegment((number,) * prompt, (False,) * prompt, Role.PROMPT),
            TokenSegment((100 + number,) * answer, mask, role, 0),
        ),
        file="a.jsonl",
        line=number + 1,
        group=group,
    )


SHAPE = st.tuples(st.integers(0, 3), st.integers(1, 6), st.integers(1, 6), st.booleans())
SHAPES = st.lists(SHAPE, min_size=1, max_size=12)


def made(shapes: list[tuple[int, int, int, bool]]) -> list[EncodedExample]:
    return [example(number, *shape) for number, shape in enumerate(shapes)]


def by_hand(examples: list[EncodedExample], limit: int) -> list[int]:
    """Where its run's next one begins, as far on as it is in its own, the next that fits."""
    count = len(examples)
    groups = [e.group for e in examples]
    found = []
    for row, own in enumerate(groups):
        after = next((step for step in range(1, count) if groups[(row + step) % count] != own), 0)
        if not after:
            found.append(NONE)
            continue
        begin = (row + after) % count
        size = next(n for n in range(1, count) if groups[(begin + n) % count] != groups[begin])
        before = next(n for n in range(1, count) if groups[(row - n) % count] != own) - 1
        offset = (before + own) % size
        fitting = (
            other % count
            for other in range(begin + offset, begin + offset + count)
            if groups[other % count] != own
            and len(examples[row].segments[0].ids) + len(examples[other % count].segments[1].ids)
            <= limit
        )
        found.append(next(fitting, NONE))
    return found


@settings(deadline=None, max_examples=200)
@given(shapes=SHAPES, limit=st.integers(2, 12))
def test_it_is_of_the_next_prompt_and_fits(
    shapes: list[tuple[int, int, int, bool]], limit: int
) -> None:
    examples = made(shapes)
    expected = by_hand(examples, limit)
    both = mismatched(Examples.of(examples), limit)
    assert both.without == expected.count(NONE)
    for own, other, found in zip(examples, expected, both, strict=True):
        if other == NONE:
            assert found == own
        else:
            answer = examples[other].segments[1]
            assert found.segments == (*own.segments, replace(answer, role=Role.MISMATCHED))
            assert replace(found, segments=own.segments) == own


@settings(deadline=None, max_examples=100)
@given(shapes=SHAPES, limit=st.integers(2, 12), drop=st.integers(0, 11))
def test_what_is_known_of_them_is_what_they_are(
    shapes: list[tuple[int, int, int, bool]], limit: int, drop: int
) -> None:
    both = mismatched(Examples.of(made(shapes)), limit)
    rows = [row for row in range(len(both)) if row != drop] or [0]
    for found in (both, both.select(rows), both[1:] if len(both) > 1 else both):
        columns, written = found.columns, Examples.of(list(found)).columns
        for name in ("tokens", "longest", "supervised", "group", "prompt", "verdict"):
            assert np.array_equal(getattr(columns, name), getattr(written, name)), name
            assert getattr(columns, name).dtype == getattr(written, name).dtype, name
        assert lengths_of(found).tolist() == [e.tokens for e in found]


def drawn(both: Mismatched) -> list[bool]:
    """Whether the answer beside each prompt is a good one where it belongs."""
    good = {e.segments[1].ids[0]: e.segments[1].role == Role.CHOSEN for e in both}
    return [good[e.segments[2].ids[0]] for e in both]


@pytest.mark.parametrize("answers", [(True, False), (False, True), (True, True, False, False)])
@pytest.mark.parametrize("ahead", [0, 1])
def test_every_answer_of_each_prompt_goes_with_another(
    answers: tuple[bool, ...], ahead: int
) -> None:
    """Else an estimate from pairs would be one from their better answers."""
    size = len(answers)
    shapes = [(n // size, 2, 3, answers[n % size]) for n in range(ahead, 6 * size)]
    both = mismatched(Examples.of(made(shapes)), 99)
    used = [e.segments[2].ids for e in both]
    assert abs(sum(drawn(both)) - len(both) / 2) <= 1
    assert len(set(used)) >= len(both) - 2 * ahead


def test_single_answers_draw_both_verdicts_of_pairs_behind_them() -> None:
    """Each hash of a prompt is one of many, so neither answer of a pair is preferred."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 400, np.uint64).tolist()
    shapes = [
        (hashes[n], 2, 3, good)
        for n in range(400)
        for good in ((True,) if n % 2 else (True, False))
    ]
    both = mismatched(Examples.of(made(shapes)), 99)
    single = [verdict for n, verdict in enumerate(drawn(both)) if n % 3 == 2]
    assert 70 < sum(single) < 130


def test_pairs_draw_both_verdicts_where_some_are_held_out() -> None:
    examples = Examples.of(made([(n // 2, 2, 3, n % 2 == 0) for n in range(120)]))
    for part, _ in parted(examples, summary(examples), 0.25, seed=3):
        found = drawn(mismatched(part, 99))
        assert len(found) >= 20
        assert sum(found) == len(found) / 2


def test_the_same_prompt_everywhere_leaves_all_alone() -> None:
    both = mismatched(Examples.of(made([(1, 2, 3, True), (1, 2, 2, False)])), 99)
    assert both.without == 2
    assert (
        others(*(np.zeros(3, t) for t in (np.uint64, np.int32, np.int32)), 9).tolist() == [-1] * 3
    )


def test_the_fingerprint_tells_which_answers_go_together() -> None:
    examples = made([(0, 2, 3, True), (1, 2, 2, False), (2, 2, 4, True)])
    turned = [examples[0], examples[2], examples[1]]
    plain, both, other = (
        Examples.of(examples),
        mismatched(Examples.of(examples), 99),
        mismatched(Examples.of(turned), 99),
    )
    assert len({e.fingerprint() for e in (plain, both, other)}) == 3
    assert both.fingerprint() == mismatched(Examples.of(examples), 99).fingerprint()
    assert both.columns.digest[0] != other.columns.digest[0], "another answer goes with the first"


def test_its_targets_are_the_answers_own_behind_this_prompt() -> None:
    both = mismatched(Examples.of(made([(0, 3, 2, True), (1, 2, 4, False)])), 99)
    batch = collate(both, [0, 1])
    at = batch.target_role == int(Role.MISMATCHED)
    assert batch.targets[at].tolist() == [101, 101, 101, 100]
    assert batch.ids[batch.sources[at]].tolist() == [0, 101, 101, 1]
    assert batch.positions[batch.role == int(Role.MISMATCHED)].tolist() == [3, 4, 5, 6, 2, 3]
    assert [segment.parent for segment in batch.layout] == [-1, 0, 0, -1, 3, 3]


def summary(examples: Examples) -> DataSummary:
    own = counts(examples, "unpaired")
    return DataSummary(sources=("a.jsonl",), kind="unpaired", limit=99, **own)


def test_what_is_held_out_is_matched_by_itself() -> None:
    shapes = [(n // 2, 2, 1 + n % 4, n % 3 == 0) for n in range(16)]
    weighed = [replace(e, weight=1.0 + e.line % 2) for e in made(shapes)]
    examples = Examples.of(weighed)
    parts = parted(examples, summary(examples), 0.3, seed=0)
    for part, told in parts:
        own = {e.segments[1].ids for e in part}
        both, found = with_mismatched(part, told)
        assert all(e.segments[2].ids in own for e in both)
        assert found.tokens == sum(e.tokens for e in both) > told.tokens
        assert found.good_answers + found.bad_answers == found.examples == len(both)
        good = [e for e in part if e.segments[1].role == Role.CHOSEN]
        assert found.good_answers == len(good) > 0
        assert found.good_weight == sum(e.weight for e in good)
        assert found.good_weight + found.bad_weight == sum(e.weight for e in part)
        assert (found.unmatched, found.sha256) == (0, both.fingerprint())


@pytest.mark.parametrize("batching", ["shuffled", "full"])
def test_steps_are_made_by_the_tokens_of_both_answers(batching: str) -> None:
    both = mismatched(Examples.of(made([(n, 2, 1 + n % 6, True) for n in range(24)])), 99)
    order = Batches(lengths_of(both), 4, 0, batching)
    assert sorted(row for step in range(6) for row in order.rows(step)) == list(range(24))
    assert sum(both.columns.tokens) == sum(e.tokens for e in both)
