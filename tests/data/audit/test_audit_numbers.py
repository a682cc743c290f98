"""The figures of an audit, against what they are by definition."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from anima_core.batch import EncodedExample, Role, TokenSegment
from anima_core.data.audit.drawn import Drawn
from anima_core.data.audit.endings import Endings, supervised_runs
from anima_core.data.audit.frequent import KEPT, Frequent
from anima_core.data.audit.lengths import MOST_BARS, histogram, lengths_of
from anima_core.data.audit.noted import SHOWN, Noted
from anima_core.data.audit.overlimit import OverLimit
from anima_core.data.audit.packing import packing_of
from anima_core.data.audit.repeats import (
    contradictions,
    one_prompt_other_answers,
    same,
    same_answers,
)
from anima_core.data.audit.rows import ROW, answer_key, row_of
from anima_core.data.limits import Limits

END = 9


def completion(prompt, answer, *, line=1, group=0):
    ids = (*prompt, *answer)
    mask = (False,) * len(prompt) + (True,) * len(answer)
    return EncodedExample((TokenSegment(ids, mask),), file="a.jsonl", line=line, group=group)


def preference(prompt, chosen, rejected, *, group=0):
    def answer(ids, role):
        return TokenSegment(tuple(ids), (True,) * len(ids), role, 0)

    root = TokenSegment(tuple(prompt), (False,) * len(prompt), Role.PROMPT)
    both = answer(chosen, Role.CHOSEN), answer(rejected, Role.REJECTED)
    return EncodedExample((root, *both), group=group)


def rows_of(*examples):
    return np.array([row_of(e, e, 0, 0) for e in examples], ROW)


def test_percentiles_are_by_nearest_rank():
    found = lengths_of(np.arange(1, 101))
    assert (found.p50, found.p90, found.p95, found.p99) == (50, 90, 95, 99)
    assert (found.shortest, found.mean, found.longest) == (1, 50.5, 100)
    alone = lengths_of(np.array([7]))
    assert (alone.p50, alone.p99, alone.bars[0].count) == (7, 7, 1)


@pytest.mark.parametrize(
    "values", [[1], [5, 5, 5], [1, 2, 3], range(90, 180), [1, 4000], [2**k for k in range(21)]]
)
def test_a_histogram_counts_every_length_once_between_its_bars_ends(values):
    ordered = np.sort(np.array(list(values)))
    bars = histogram(ordered)
    assert len(bars) <= MOST_BARS
    assert sum(bar.count for bar in bars) == len(ordered)
    assert bars[0].first <= ordered[0]
    assert bars[-1].last >= ordered[-1]
    for bar in bars:
        assert bar.count == ((ordered >= bar.first) & (ordered <= bar.last)).sum()
    assert all(a.last + 1 == b.first for a, b in pairwise(bars))
    assert bars[0].count
    assert bars[-1].count


def test_places_are_remembered_in_order_up_to_a_number():
    first, later = Noted(), Noted()
    for number in range(3):
        first.add(f"a:{number}")
    for number in range(9):
        later.add(f"b:{number}")
    first.merge(later)
    assert first.count == 12
    assert first.places == ["a:0", "a:1", "a:2", "b:0", "b:1"][:SHOWN]


def test_what_is_frequent_survives_among_very_many():
    whole = Frequent()
    for block in range(20):
        part = Frequent()
        for number in range(KEPT // 4):
            part.add(10_000 + block * KEPT + number, "rare")
            if number % 50 == 0:
                part.add(7, "often")
        whole.merge(part)
    assert whole.texts[7] == "often"
    assert len(whole.counts) <= KEPT


def test_copies_are_equal_in_ids_and_mask():
    one, other_mask = completion([1, 2], [3, END]), completion([1], [2, 3, END])
    rows = rows_of(one, other_mask, one, completion([1, 2], [3, END], line=5))
    found = same(rows["digest"])
    assert (found.groups, found.extra, found.members) == (1, 2, ((0, 2, 3),))
    assert rows["digest"][0] != rows["digest"][1]


def test_nothing_is_there_twice_in_nothing():
    assert same(np.zeros(0, "u8")).extra == 0


def test_a_prompt_with_other_answers_is_no_copy():
    a, b = completion([1], [2, END], group=4), completion([1], [3, END], group=4)
    assert one_prompt_other_answers(rows_of(a, a)).groups == 0
    found = one_prompt_other_answers(rows_of(a, a, completion([5], [2, END], group=6), b))
    assert (found.groups, found.extra, found.members) == (1, 1, ((0, 3),))


def test_the_answer_given_to_most_prompts_comes_first():
    refusal = [completion([n], [5, END], group=n) for n in range(4)]
    repeated = [completion([1], [6, END], group=9)] * 6
    other = [completion([n], [7, END], group=n) for n in range(20, 22)]
    rows = rows_of(*repeated, *other, *refusal)
    found = same_answers(rows, {answer_key(refusal[0]): "I cannot."})
    assert [(a.count, a.prompts, a.text) for a in found] == [(4, 4, "I cannot."), (2, 2, "")]
    assert found[0].rows == (8, 9, 10, 11)


def test_a_pair_the_other_way_round_is_a_contradiction():
    pair = preference([1], [2, END], [3, END])
    turned = preference([1], [3, END], [2, END])
    other = preference([4], [3, END], [2, END])
    assert contradictions(rows_of(pair, pair, other)).extra == 0
    found = contradictions(rows_of(pair, other, turned))
    assert (found.extra, found.members) == (1, ((0, 2),))


def test_runs_of_targets():
    mask = (False, True, True, False, True)
    assert list(supervised_runs(TokenSegment((1,) * 5, mask))) == [(1, 3), (4, 5)]


def test_every_answer_that_ends_with_a_special_target_is_counted():
    seen = Endings()
    ids, mask = (1, 2, END, 1, 3, 4), (False, True, True, False, True, True)
    seen.take(EncodedExample((TokenSegment(ids, mask),)), "a:1", {END: "</s>"}, whole=False)
    assert (seen.answers, seen.ended, seen.by_token["</s>"]) == (2, 1, 1)
    assert seen.open.places == ["a:1"]
    assert not seen.empty.count


def test_an_answer_of_special_tokens_alone_is_empty():
    seen = Endings()
    seen.take(completion([1], [END]), "a:1", {END: "</s>"}, whole=False)
    seen.take(completion([1], [2, END]), "a:2", {END: "</s>"}, whole=False)
    assert (seen.ended, seen.empty.places) == (2, ["a:1"])


def test_where_all_is_learnt_the_last_token_counts():
    seen = Endings()
    for last in (END, 4):
        text = TokenSegment((1, END, 2, last), (False, True, True, True))
        seen.take(EncodedExample((text,)), f"a:{last}", {END: "</s>"}, whole=True)
    assert (seen.answers, seen.ended, seen.open.places) == (2, 1, ["a:4"])


@pytest.mark.parametrize(
    ("mode", "kept"), [("error", None), ("drop", None), ("split", None), ("truncate", 4)]
)
def test_what_each_mode_would_lose(mode, kept):
    seen, limits = OverLimit(), Limits(4)
    short, long = completion([1, 1], [2, END]), completion([1, 1, 1], [2, END])
    cut = completion([1, 1], [2, END])
    assert seen.take(short, "a:1", limits, mode, lambda: None) is short
    found = seen.take(long, "a:2", limits, mode, lambda: cut)
    assert (found and found.longest) == kept
    seen.take(long, "a:3", limits, mode, lambda: None)
    assert seen.over.places == ["a:2", "a:3"]
    assert (seen.dropped.examples, seen.dropped.targets) == (2, 4)
    assert (seen.truncated.of, seen.truncated.examples, seen.truncated.targets) == (2, 1, 2)


def test_plain_text_over_the_limit_is_what_split_keeps():
    seen, text = OverLimit(), completion([1], [2, 3, 4, END])
    assert seen.take(text, "a:1", Limits(3), "split", lambda: None) is text
    assert seen.plain == 1


def test_packing_of_sequences_that_fill_their_micro_batches():
    rows = rows_of(*(completion([1] * 2, [2] * 2) for _ in range(8)))
    found = packing_of(rows, batch_size=4, micro_tokens=8, seed=0)
    assert (found.steps, found.looked_at, found.micro_batches) == (2, 2, 2)
    assert (found.filled, found.padding) == (1, 1)


def test_padding_computes_what_is_not_there_and_a_pairs_prompt_twice():
    rows = rows_of(completion([1], [2]), completion([1] * 5, [2] * 5))
    found = packing_of(rows, batch_size=2, micro_tokens=24, seed=0)
    assert (found.filled, found.padding) == (12 / 24, 20 / 12)
    pair = packing_of(rows_of(preference([1] * 6, [2] * 2, [3] * 2)), 1, 5, 0)
    assert (pair.micro_batches, pair.filled, pair.padding) == (1, 1, 16 / 10)


def test_a_draw_does_not_depend_on_how_the_data_is_cut_up():
    examples = [completion([1], [2], line=n, group=n) for n in range(40)]
    whole, first, later = (Drawn(5, seed=1) for _ in range(3))
    for example in examples:
        whole.take(example)
    for example in examples[:13]:
        first.take(example)
    for example in examples[13:]:
        later.take(example)
    first.merge(later)
    lines = [example.line for example in whole.examples()]
    assert [example.line for example in first.examples()] == lines == sorted(lines)
    other = Drawn(5, seed=2)
    for example in examples:
        other.take(example)
    assert [example.line for example in other.examples()] != lines
