"""The audit's short form in the plan, which needs the examples' numbers only."""

from __future__ import annotations

from anima_core.batch import EncodedExample, TokenSegment
from anima_core.data.audit.brief import brief
from anima_core.data.store import Examples

END = 2


def example(prompt, *answer):
    ids = (1, prompt, *answer)
    mask = (False, False, *[True] * len(answer))
    return EncodedExample((TokenSegment(ids, mask),), group=prompt)


def test_what_the_plan_says_of_examples():
    same = [example(prompt, 5, END) for prompt in range(10, 15)]
    others = [example(20, 6, END), example(20, 6, END), example(21, 7, 8, 9)]
    found = brief(Examples.of([*same, *others], [END]).columns)
    assert found == {"p50": 4, "p95": 5, "copies": 1, "alike": 5, "unended": 1}


def test_one_example():
    found = brief(Examples.of([example(3, 4, END)], [END]).columns)
    assert found == {"p50": 4, "p95": 4, "copies": 0, "alike": 1, "unended": 0}
