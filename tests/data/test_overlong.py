from __future__ import annotations

import pytest

from anima_core.batch import EncodedExample, Role, TokenSegment
from anima_core.data.limits import Limits, prompt_and_answer
from anima_core.data.overlong import Lengths, fit, split
from anima_core.errors import DataError


def completion(mask: str, line: int = 1) -> EncodedExample:
    """``..xx`` is two tokens of context and two targets; ids count from 10."""
    ids = tuple(range(10, 10 + len(mask)))
    segment = TokenSegment(ids, tuple(c == "x" for c in mask))
    return EncodedExample((segment,), file="a.jsonl", line=line)


def pair(prompt: int, chosen: int, rejected: int) -> EncodedExample:
    sizes = ((prompt, Role.PROMPT, -1), (chosen, Role.CHOSEN, 0), (rejected, Role.REJECTED, 0))
    return EncodedExample(
        tuple(
            TokenSegment(tuple(range(n)), (parent == 0,) * n, role, parent)
            for n, role, parent in sizes
        ),
        weight=2.0,
        file="a.jsonl",
        line=5,
    )


def shape(example: EncodedExample | None) -> str:
    assert example is not None
    (segment,) = example.segments
    return "".join("x" if wanted else "." for wanted in segment.supervised)


def never(_: int) -> None:
    pytest.fail("nothing is to be made shorter")


def test_weights_stay_with_their_tokens() -> None:
    ids, weights = (0, 1, 2, 3, 4), (1.0, 2.0, 3.0, 4.0, 5.0)
    text = EncodedExample((TokenSegment(ids, (False, *[True] * 4), weights=weights),))
    assert [part.segments[0].weights for part in split(text, 3)] == [weights[:3], weights[2:]]


def test_nothing_over_the_limit_changes_nothing() -> None:
    examples = [completion("..x"), completion(".x")]
    for mode in ("error", "drop", "truncate"):
        lengths = Lengths()
        assert fit(examples, Limits(3), mode, lengths, never) == examples
        assert (lengths.overlong, lengths.dropped, lengths.truncated) == (0, 0, 0)
        assert lengths.refusal(Limits(3), mode) is None


def test_drop_and_truncate_count() -> None:
    examples = [completion("..x"), completion("....x"), completion(".xxxx"), completion(".x")]
    shorter = {1: completion("..x"), 2: None}
    dropped, cut = Lengths(), Lengths()
    assert fit(examples, Limits(3), "drop", dropped, never) == [examples[0], examples[3]]
    assert (dropped.overlong, dropped.dropped, dropped.truncated) == (2, 2, 0)
    kept = fit(examples, Limits(3), "truncate", cut, shorter.__getitem__)
    assert [shape(e) for e in kept] == ["..x", "..x", ".x"]
    assert (cut.overlong, cut.dropped, cut.truncated) == (2, 1, 1)


@pytest.mark.parametrize(
    ("mask", "prompt", "answer"),
    [("....xx", 4, 2), (".xx..xxx", 5, 3), (".xx..", 1, 2), (".x.xx...", 3, 2)],
)
def test_the_answer_is_the_last_run_of_targets(mask: str, prompt: int, answer: int) -> None:
    example = completion(mask)
    assert prompt_and_answer(example) == (prompt, answer)
    assert Limits(99, prompt=9).sizes(example) == (len(mask), prompt, 0)
    assert Limits(99, answer=9).sizes(example) == (len(mask), 0, answer)
    assert Limits(99).sizes(example) == (len(mask), 0, 0)


def test_a_pair_has_one_prompt_and_two_answers() -> None:
    assert Limits(99, 9, 9).sizes(pair(6, 2, 4)) == (10, 6, 4)


def test_plain_text_has_neither_prompt_nor_answer() -> None:
    lengths = Lengths()
    texts = [completion(".xxxx")]
    assert fit(texts, Limits(9, 1, 1), "error", lengths, never) == texts
    assert (lengths.overlong, len(lengths.prompt.all)) == (0, 0)


def test_each_limit_is_counted() -> None:
    examples = [pair(6, 2, 4), pair(3, 2, 9), pair(9, 9, 1), pair(2, 2, 2)]
    limits = Limits(14, prompt=5, answer=8)
    dropped, cut = Lengths(), Lengths()
    assert fit(examples, limits, "drop", dropped, never) == examples[3:]
    assert (dropped.overlong, dropped.dropped) == (3, 3)
    counts = [over.count for over in (dropped.length, dropped.prompt, dropped.answer)]
    assert counts == [1, 2, 2]
    # An answer that is too long is never cut; a prompt is.
    assert fit(examples, limits, "truncate", cut, [pair(5, 2, 4)].__getitem__) == [
        pair(5, 2, 4),
        examples[3],
    ]
    assert (cut.overlong, cut.dropped, cut.truncated) == (3, 2, 1)


def test_the_error_names_each_limit() -> None:
    examples = [pair(n, 1, 1) for n in (2, 2, 4, 6)] + [pair(1, 1, 9)]
    error = refusal(examples, Limits(99, prompt=3, answer=5))
    assert error.where == "--max-prompt-length, --max-answer-length"
    assert "2 of 5 examples have a prompt of more than 3 tokens (the longest has 6)" in error.what
    assert "1 of 5 examples have an answer of more than 5 tokens (the longest has 9)" in error.what
    assert "--max-prompt-length 6 keeps all; --max-answer-length 9 keeps all" in error.fix


def refusal(examples: list[EncodedExample], limits: Limits, parts: int = 1) -> DataError:
    """The error for all of them, found in some parts one after the other."""
    lengths = Lengths()
    for part in range(parts):
        later = Lengths()
        size = -(-len(examples) // parts)
        fit(examples[part * size : (part + 1) * size], limits, "error", later, never)
        lengths.merge(later)
    error = lengths.refusal(limits, "error")
    assert error is not None
    return error


@pytest.mark.parametrize("parts", [1, 7])
def test_the_error_says_which_limits_would_do(parts: int) -> None:
    lengths = [4] * 60 + [7] * 35 + [20, 30, 40, 50, 60]
    examples = [completion("." * (n - 1) + "x", line) for line, n in enumerate(lengths, 1)]
    error = refusal(examples, Limits(5), parts)
    assert "40 of 100 examples are longer than 5 tokens (the longest has 60)" in error.what
    assert "a.jsonl:61, a.jsonl:62, a.jsonl:63 and 37 more" in error.what
    assert "--max-length 60 keeps all, --max-length 7 95% of them" in error.fix


def test_a_limit_that_keeps_95_percent_already_is_not_named() -> None:
    examples = [completion("..x")] * 99 + [completion("...x")]
    error = refusal(examples, Limits(3))
    assert "1 of 100" in error.what
    assert "95%" not in error.fix


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((4, 7, 2), "the chosen answer"),
        ((4, 2, 7), "the rejected answer"),
        ((4, 7, 8), "each of its answers"),
        ((10, 2, 3), "the prompt alone"),
    ],
)
def test_a_refused_pair_says_which_side_is_too_long(sizes, said) -> None:
    lengths = Lengths()
    assert fit([pair(*sizes), pair(2, 2, 2)], Limits(10), "error", lengths, never)
    refusal = lengths.refusal(Limits(10), "error")
    assert isinstance(refusal, DataError)
    longest = sizes[0] + max(sizes[1:])
    assert f"(the longest has {longest}): a.jsonl:5 ({said})" in refusal.what


def test_of_a_limit_of_answers_the_prompt_is_no_part() -> None:
    lengths, limits = Lengths(), Limits(100, prompt=3, answer=4)
    fit([pair(9, 4, 5)], limits, "error", lengths, never)
    refusal = lengths.refusal(limits, "error")
    assert isinstance(refusal, DataError)
    over_prompt, over_answer = refusal.what.split("; ", 1)
    assert "prompt of more than 3 tokens (the longest has 9): a.jsonl:5" in over_prompt
    assert "a.jsonl:5 (the rejected answer)" in over_answer


def test_of_many_pairs_the_sides_are_counted() -> None:
    first, later = Lengths(), Lengths()
    fit([pair(4, 7, 2)] * 3, Limits(10), "error", first, never)
    fit([pair(4, 2, 7)] * 2, Limits(10), "error", later, never)
    first.merge(later)
    refusal = first.refusal(Limits(10), "error")
    assert isinstance(refusal, DataError)
    assert "11; 3 by the chosen answer; 2 by the rejected answer): a.jsonl:5 (" in refusal.what
    assert refusal.what.endswith(" and 2 more")
