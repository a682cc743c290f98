"""Which examples are drawn, held out or too short, and long text in parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from anima_core.batch import EncodedExample, TokenSegment
from anima_core.contracts import Record
from anima_core.data.dataset import load_dataset, parted
from anima_core.data.formats import Example
from anima_core.data.handling import Handling
from anima_core.data.limits import Limits
from anima_core.data.notes import data_notes
from anima_core.data.overlong import Lengths, fit, split
from anima_core.data.selection import drawn, group_of, hold_out
from anima_core.data.store import Examples
from anima_core.errors import DataError

Make = Callable[..., PreTrainedTokenizerFast]


def example(group: int, line: int = 1, size: int = 3) -> EncodedExample:
    segment = TokenSegment(tuple(range(size)), (False, *[True] * (size - 1)))
    return EncodedExample((segment,), file="a.jsonl", line=line, group=group)


def load(tokenizer: PreTrainedTokenizerFast, *rows: dict[str, Any], **options: Any) -> Any:
    names = ("min_length", "max_examples", "seed", "train_on")
    handling = Handling(**{name: options.pop(name) for name in names if name in options})
    settings: dict[str, Any] = {"limit": 500, "overlong": "error", "kind": "completion"}
    return load_dataset(
        [Record(row, "x.jsonl", line) for line, row in enumerate(rows, 1)],
        tokenizer,
        sources=["x.jsonl"],
        handling=handling,
        **(settings | options),
    )


GROUPS = st.lists(st.integers(0, 12), min_size=2, max_size=40).filter(lambda g: len(set(g)) > 1)


@settings(deadline=None, max_examples=50)
@given(groups=GROUPS, fraction=st.floats(0.01, 0.99), seed=st.integers(0, 3))
def test_what_is_held_out_was_never_trained_on(
    groups: list[int], fraction: float, seed: int
) -> None:
    examples = [example(group, line) for line, group in enumerate(groups, 1)]
    train, held = hold_out(Examples.of(examples), fraction, seed)
    assert train
    assert held
    assert {e.group for e in train}.isdisjoint({e.group for e in held})
    assert sorted((*train, *held), key=lambda e: e.line) == examples
    for part in (train, held):
        assert [e.line for e in part] == sorted(e.line for e in part)
    again = hold_out(Examples.of(reversed(examples)), fraction, seed)
    assert {e.line for e in again[1]} == {e.line for e in held}
    smallest = min(map(groups.count, groups))
    assert len(held) <= max(round(fraction * len(groups)), smallest)


def test_about_the_fraction_is_held_out_and_the_seed_says_which() -> None:
    examples = Examples.of(example(n, n) for n in range(200))
    sets = [{e.line for e in hold_out(examples, 0.1, seed)[1]} for seed in range(3)]
    assert [len(lines) for lines in sets] == [20, 20, 20]
    assert len(sets[0] & sets[1]) < 10


def test_one_prompt_cannot_be_parted() -> None:
    with pytest.raises(DataError, match="the 3 examples have one prompt") as caught:
        hold_out(Examples.of([example(5)] * 3), 0.5, 0)
    assert caught.value.where == "--eval-fraction"


def say(*turns: str) -> tuple[dict[str, Any], ...]:
    names = {"u": "user", "a": "assistant", "s": "system"}
    return tuple({"role": names[t[0]], "content": t[2:]} for t in turns)


def test_examples_that_ask_the_same_are_of_one_group() -> None:
    asked = group_of(Example(say("u:What is it?", "a:x"), "m"))
    same = [
        Example(say("s:Be kind.", "u:what  is it?\n", "a:y", "u:more", "a:z"), "m"),
        Example(say("u:What is it?"), "p", say("a:b"), say("a:c")),
    ]
    assert {group_of(e) for e in same} == {asked}
    other = [Example(say("u:What is he?", "a:x"), "m"), Example((), "text", text="What")]
    assert len({asked, *map(group_of, other)}) == 3


def test_a_draw_keeps_the_order_and_hangs_on_the_seed() -> None:
    examples = Examples.of(example(n, n) for n in range(100))
    few = list(drawn(examples, 10, 1))
    assert len(few) == 10
    assert [e.line for e in few] == sorted(e.line for e in few)
    assert list(drawn(examples, 10, 1)) == few != list(drawn(examples, 10, 2))
    assert drawn(examples, 100, 1) is drawn(examples, None, 1) is examples


@given(size=st.integers(2, 60), limit=st.integers(2, 20))
def test_every_token_of_a_split_text_is_learnt_once(size: int, limit: int) -> None:
    text = example(7, size=size)
    parts = split(text, limit)
    assert all(2 <= len(p.segments[0].ids) <= limit for p in parts)
    learnt = [
        token
        for part in parts
        for token, wanted in zip(part.segments[0].ids, part.segments[0].supervised, strict=True)
        if wanted
    ]
    assert learnt == list(range(1, size))
    assert not any(part.segments[0].supervised[0] for part in parts)
    assert {(p.group, p.line) for p in parts} == {(7, 1)}


def no_cut(_: int) -> None:
    pytest.fail("nothing is to be cut")


def test_only_plain_text_is_split() -> None:
    limits = Limits(4)
    context = TokenSegment(tuple(range(9)), (False,) * 5 + (True,) * 4)
    dialogue = EncodedExample((context,), file="a.jsonl", line=3)
    lengths = Lengths()
    kept = fit([example(1, size=9), example(2, 2, size=3)], limits, "split", lengths, no_cut)
    assert [len(e.segments[0].ids) for e in kept] == [4, 4, 3, 3]
    assert (lengths.overlong, lengths.split, lengths.dropped, lengths.truncated) == (1, 1, 0, 0)
    mixed, text = Lengths(), Lengths()
    fit([example(1, size=9), dialogue], limits, "split", mixed, no_cut)
    error = mixed.refusal(limits, "split")
    assert error is not None
    assert "no plain text, which alone can be split" in error.what
    assert "1 of 2" in error.what
    assert "a.jsonl:3" in error.what
    fit([example(1, size=9)], limits, "error", text, no_cut)
    error = text.refusal(limits, "error")
    assert error is not None
    assert "--overlong split" in error.fix


def test_long_text_is_split_and_counted(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    rows = [{"text": "one two three " * 40}, {"text": "short"}]
    examples, summary = load(tokenizer, *rows, limit=16, overlong="split")
    (whole, _), _ = load(tokenizer, *rows)
    (ids,) = (segment.ids for segment in whole.segments)
    assert summary.split == summary.overlong == 1
    assert summary.examples == len(examples) == -(-(len(ids) - 1) // 15) + 1
    assert summary.supervised_tokens == whole.supervised + examples[-1].supervised
    (note,) = data_notes(summary, tokenizer)
    assert note == "1 texts over 16 tokens were split into parts of as many"


def test_short_examples_and_those_not_drawn_are_counted(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    rows = [{"prompt": f"q{n}", "completion": "so " * n} for n in range(1, 21)]
    everything, _ = load(tokenizer, *rows)
    least = sorted(e.longest for e in everything)[4]
    kept, summary = load(tokenizer, *rows, min_length=least, max_examples=6, seed=3)
    assert summary.short == sum(e.longest < least for e in everything)
    assert (summary.examples, summary.not_drawn) == (6, 20 - summary.short - 6)
    assert all(e.longest >= least for e in kept)
    assert summary.sha256 == kept.fingerprint()
    notes = data_notes(summary, tokenizer)
    assert any("--min-length" in note for note in notes)
    assert any("--max-examples" in note for note in notes)
    with pytest.raises(DataError, match="20 are too short") as caught:
        load(tokenizer, *rows, min_length=400)
    assert caught.value.fix == "lower --min-length"


def test_both_parts_have_a_summary_of_their_own(make_tokenizer: Make) -> None:
    rows = [{"prompt": f"q{n // 2}", "completion": f"a{n}"} for n in range(40)]
    examples, summary = load(make_tokenizer(), *rows)
    (train, of_train), (held, of_held) = parted(examples, summary, 0.25, 1)
    assert (len(train), len(held)) == (of_train.examples, of_held.examples) == (30, 10)
    assert of_train.tokens + of_held.tokens == summary.tokens
    assert (of_train.sha256, of_held.sha256) == (train.fingerprint(), held.fingerprint())
    assert of_train.formats == summary.formats


def test_what_is_learnt_of_a_dialogue(make_tokenizer: Make) -> None:
    row = {"messages": [*say("u:a", "a:b", "u:c", "a:d")]}
    counts = [
        load(make_tokenizer(), row, train_on=train_on)[1].supervised_tokens
        for train_on in ("last", "assistant", "all")
    ]
    assert counts == sorted(set(counts))
