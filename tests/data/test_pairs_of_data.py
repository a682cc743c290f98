"""What a plan knows of preference pairs: those that teach nothing, or the opposite, or lengths."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anima_core.batch import EncodedExample, Role, TokenSegment
from anima_core.data.length_bias import preferred_length
from anima_core.data.notes import data_notes, data_warnings
from anima_core.data.pair_key import pair_key, prompt_key
from anima_core.data.pairs import pair_summary
from anima_core.data.store import Examples
from anima_core.runs.plan import DataSummary


def pair(
    prompt: list[int], chosen: list[int], rejected: list[int], line: int = 1, weight: float = 1.0
) -> EncodedExample:
    answers = (
        TokenSegment(tuple(ids), (True,) * len(ids), role, 0)
        for ids, role in ((chosen, Role.CHOSEN), (rejected, Role.REJECTED))
    )
    root = TokenSegment(tuple(prompt), (False,) * len(prompt), Role.PROMPT)
    segments = (root, *answers)
    return EncodedExample(segments, weight, file="a.jsonl", line=line, group=sum(prompt))


def summary_of(**facts: object) -> DataSummary:
    return DataSummary(("a.jsonl",), "preference", 9, 90, 50, 12, 64, **facts)


def test_a_pair_and_the_same_pair_swapped_have_one_key_and_no_others_do():
    one, swapped = pair([1, 2], [3], [4, 5]), pair([1, 2], [4, 5], [3])
    others = [
        pair([1], [2, 3], [4, 5]),
        pair([1, 2], [3], [4, 6]),
        pair([1, 2], [3, 4], [5]),
        pair([2, 1], [3], [4, 5]),
    ]
    assert pair_key(one) == pair_key(swapped) != 0
    assert len({pair_key(other) for other in (one, *others)}) == 5
    assert pair_key(EncodedExample((TokenSegment((1, 2), (False, True)),))) == 0


def test_contradictions_are_pairs_that_stand_there_the_other_way_round():
    examples = Examples.of(
        [
            pair([1], [3], [4], line=1),
            pair([1], [3], [4], line=2),  # a copy is none
            pair([1], [3], [4], line=3, weight=2.0),  # nor is one of another weight
            pair([2], [3], [4], line=4),
            pair([1], [4], [3], line=5),
            pair([7], [8], [9], line=6),
            pair([7], [9], [8], line=7),
        ]
    )
    found = pair_summary(examples)
    assert found.contradicted == 2
    assert found.contradictions == (
        ("a.jsonl:1", "a.jsonl:5"),
        ("a.jsonl:6", "a.jsonl:7"),
    )
    ((what, fix),) = data_warnings(summary_of(pairs=found))
    assert what.startswith("2 pairs contradict another pair (the same two answers, the other one")
    assert what.endswith(": a.jsonl:1 / 5, a.jsonl:6 / 7")
    assert fix


def test_prompts_and_lengths_are_counted():
    examples = Examples.of(
        [
            pair([1], [3, 4, 5], [4]),
            pair([1], [5], [6, 7]),
            pair([9], [1, 2], [3]),
            pair([8], [1], [2]),
        ]
    )
    found = pair_summary(examples)
    assert (found.prompts, found.shared) == (3, 2)
    assert (found.longer, found.shorter, found.contradicted) == (2, 1, 0)
    assert (found.chosen_tokens, found.rejected_tokens) == (1.75, 1.25)
    parted = pair_summary(examples.select([2, 3]))
    assert (parted.prompts, parted.shared, parted.longer) == (2, 0, 1)


def test_dialogues_that_only_begin_alike_share_no_prompt():
    """Their group, by which they are held out together, looks at the first words alone."""
    examples = [pair([1, 2], [3], [4]), pair([1, 5], [3], [4]), pair([1, 2], [5], [6])]
    found = pair_summary(Examples.of([replace(example, group=7) for example in examples]))
    assert (found.prompts, found.shared) == (2, 2)
    lone = EncodedExample((TokenSegment((1, 2), (False, True)),))
    assert prompt_key(lone) == 0 != prompt_key(examples[0]) != prompt_key(examples[1])


class Templated:
    chat_template = "yes"


def test_the_plan_counts_and_lists_them():
    pairs = pair_summary(Examples.of([pair([1], [3], [4]), pair([1], [5], [6])]))
    places = tuple(f"a.jsonl:{n}" for n in range(1, 6))
    facts = summary_of(unsupervised=8, equal_pairs=7, equal_places=places, pairs=pairs)
    assert data_notes(facts, Templated()) == [
        f"7 pairs were left out, whose two answers are equal: {', '.join(places)} and 2 more",
        "1 examples were left out: nothing to learn from",
        "2 of 9 pairs share their prompt with another pair (1 different prompts)",
    ]
    assert data_warnings(facts) == []


@pytest.mark.parametrize(
    ("longer", "shorter", "word"),
    [
        (0, 0, ""),
        (3, 0, ""),  # chance does that in one of eight
        (12, 0, "longer"),
        (0, 12, "shorter"),
        (66, 34, ""),
        (67, 33, "longer"),
        (20, 10, ""),
        (6000, 4000, ""),  # sure, but too little to be learnt alone
    ],
)
def test_lengths_are_told_of_where_they_decide_more_than_chance_does(longer, shorter, word):
    assert preferred_length(longer, shorter) == word
