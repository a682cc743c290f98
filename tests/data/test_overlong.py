from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anima_core.batch import EncodedExample, Role, TokenSegment
from anima_core.data.overlong import Lengths, fit, split, truncate
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


@pytest.mark.parametrize(
    ("mask", "limit", "left"),
    [
        ("....xx", 5, "...xx"),
        ("....xx", 3, ".xx"),
        ("..xx..xx", 6, ".x..xx"),  # the cut meets an answer: its new first token is no target
        ("..xx..xx", 5, "...xx"),
        ("..xx..xx", 3, ".xx"),
        ("..xx..", 5, ".xx.."),
    ],
)
def test_context_is_cut_from_the_left(mask: str, limit: int, left: str) -> None:
    example = completion(mask)
    cut = truncate(example, limit)
    assert shape(cut) == left
    assert cut is not None
    assert cut.segments[0].ids == example.segments[0].ids[len(mask) - limit :]


@pytest.mark.parametrize(
    ("mask", "limit"), [("....xx", 2), (".xxxx", 3), ("....", 2), (".xx..", 3)]
)
def test_an_answer_that_does_not_fit_is_never_cut(mask: str, limit: int) -> None:
    assert truncate(completion(mask), limit) is None


def test_weights_stay_with_their_tokens() -> None:
    ids, weights = (0, 1, 2, 3, 4), (1.0, 2.0, 3.0, 4.0, 5.0)
    chat = EncodedExample((TokenSegment(ids, (False, True, False, True, True), weights=weights),))
    cut = truncate(chat, 4)
    assert cut is not None
    assert cut.segments[0] == TokenSegment(
        ids[1:], (False, False, True, True), weights=(2.0, 3.0, 4.0, 5.0)
    )
    text = EncodedExample((TokenSegment(ids, (False, *[True] * 4), weights=weights),))
    assert [part.segments[0].weights for part in split(text, 3)] == [weights[:3], weights[2:]]


def test_a_pairs_prompt_is_cut_for_both() -> None:
    cut = truncate(pair(6, 2, 4), 7)
    assert cut is not None
    assert [len(s.ids) for s in cut.segments] == [3, 2, 4]
    assert cut.segments[0].ids == (3, 4, 5)
    assert cut.segments[1:] == pair(6, 2, 4).segments[1:]
    assert (cut.weight, cut.line) == (2.0, 5)


@pytest.mark.parametrize("limit", [4, 3])
def test_a_pair_keeps_a_token_of_its_prompt(limit: int) -> None:
    assert truncate(pair(6, 2, 4), limit) is None


@given(
    mask=st.text(st.sampled_from(".x"), min_size=1, max_size=12).map(lambda m: "." + m),
    limit=st.integers(2, 12),
)
def test_truncation_keeps_the_last_answer(mask: str, limit: int) -> None:
    example = completion(mask)
    cut = truncate(example, limit)
    if len(mask) <= limit:
        assert cut == example
        return
    tail = len(mask.rstrip("."))
    answer = tail - len(mask[:tail].rstrip("x"))
    needed = len(mask) - tail + answer + 1
    if not answer or needed > limit:
        assert cut is None
        return
    assert shape(cut) == "." + mask[len(mask) - limit + 1 :]


def test_nothing_over_the_limit_changes_nothing() -> None:
    examples = [completion("..x"), completion(".x")]
    for mode in ("error", "drop", "truncate"):
        lengths = Lengths()
        assert fit(examples, 3, mode, lengths) == examples
        assert (lengths.overlong, lengths.dropped, lengths.truncated) == (0, 0, 0)
        assert lengths.refusal(3, mode) is None


def test_drop_and_truncate_count() -> None:
    examples = [completion("..x"), completion("....x"), completion(".xxxx"), completion(".x")]
    dropped, cut = Lengths(), Lengths()
    assert fit(examples, 3, "drop", dropped) == [examples[0], examples[3]]
    assert (dropped.overlong, dropped.dropped, dropped.truncated) == (2, 2, 0)
    assert [shape(e) for e in fit(examples, 3, "truncate", cut)] == ["..x", "..x", ".x"]
    assert (cut.overlong, cut.dropped, cut.truncated) == (2, 1, 1)


def refusal(examples: list[EncodedExample], limit: int, parts: int = 1) -> DataError:
    """The error for all of them, found in some parts one after the other."""
    lengths = Lengths()
    for part in range(parts):
        later = Lengths()
        size = -(-len(examples) // parts)
        fit(examples[part * size : (part + 1) * size], limit, "error", later)
        lengths.merge(later)
    error = lengths.refusal(limit, "error")
    assert error is not None
    return error


@pytest.mark.parametrize("parts", [1, 7])
def test_the_error_says_which_limits_would_do(parts: int) -> None:
    lengths = [4] * 60 + [7] * 35 + [20, 30, 40, 50, 60]
    examples = [completion("." * (n - 1) + "x", line) for line, n in enumerate(lengths, 1)]
    error = refusal(examples, 5, parts)
    assert "40 of 100 examples are longer than 5 tokens (the longest has 60)" in error.what
    assert "a.jsonl:61, a.jsonl:62, a.jsonl:63 and 37 more" in error.what
    assert "--max-length 60 keeps all, --max-length 7 95% of them" in error.fix


def test_a_limit_that_keeps_95_percent_already_is_not_named() -> None:
    examples = [completion("..x")] * 99 + [completion("...x")]
    error = refusal(examples, 3)
    assert "1 of 100" in error.what
    assert "95%" not in error.fix
