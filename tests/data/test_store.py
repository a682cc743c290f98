"""Examples in a file are the examples that were written, and so is what is known of them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anima_core.batch import EncodedExample, Role, TokenSegment
from anima_core.data.rows import pack
from anima_core.data.store import ROWS, Examples, Store, Writer

END = 7


def segment(size: int, role: Role, parent: int) -> st.SearchStrategy[TokenSegment]:
    """Tokens of which some are targets; with weights, or without."""
    return st.builds(
        TokenSegment,
        st.lists(st.integers(0, 9), min_size=size, max_size=size).map(tuple),
        st.lists(st.booleans(), min_size=size, max_size=size).map(tuple),
        st.just(role),
        st.just(parent),
        st.just(()) | st.lists(st.floats(0, 2, width=32), min_size=size, max_size=size).map(tuple),
    )


def segments(sizes: list[int]) -> st.SearchStrategy[tuple[TokenSegment, ...]]:
    roles = [Role.PROMPT, Role.CHOSEN, Role.REJECTED] if len(sizes) == 3 else [Role.COMPLETION]
    parts = zip(sizes, roles, [-1, 0, 0], strict=False)
    return st.tuples(*(segment(size, role, parent) for size, role, parent in parts))


SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=3).filter(lambda s: len(s) != 2)
EXAMPLE = st.builds(
    EncodedExample,
    SIZES.flatmap(segments),
    st.floats(0.1, 9),
    st.sampled_from(["a.jsonl", "b.jsonl", "ü.jsonl"]),
    st.integers(0, 2**40),
    st.integers(0, 2**64 - 1),
    st.sampled_from([0.0, 0.25, 3.0]),
)


def ends(example: EncodedExample) -> bool:
    """Whether the last token of each run of targets is the one that ends a turn."""
    for part in example.segments:
        for at, wanted in enumerate(part.supervised):
            last = at + 1 == len(part.ids) or not part.supervised[at + 1]
            if wanted and last and part.ids[at] != END:
                return False
    return True


@settings(deadline=None, max_examples=50)
@given(examples=st.lists(EXAMPLE, max_size=8))
def test_what_is_read_is_what_was_written(examples: list[EncodedExample]) -> None:
    stored = Examples.of(examples, {END})
    assert list(stored) == examples
    columns = stored.columns
    assert columns.tokens.tolist() == [e.tokens for e in examples]
    assert columns.longest.tolist() == [e.longest for e in examples]
    assert columns.supervised.tolist() == [e.supervised for e in examples]
    assert columns.group.tolist() == [e.group for e in examples]
    assert columns.ends.tolist() == [ends(e) for e in examples]
    assert columns.source.tolist() == [0] * len(examples)
    answers = [
        [i for s in e.segments for i, t in zip(s.ids, s.supervised, strict=True) if t]
        for e in examples
    ]
    same = [a == b for a in answers for b in answers]
    assert [a == b for a in columns.answer for b in columns.answer] == same
    seen = [(e.segments, e.weight) for e in examples]
    same = [a == b for a in seen for b in seen]
    assert [a == b for a in columns.digest for b in columns.digest] == same
    assert stored.fingerprint() == hashlib.sha256(columns.digest.tobytes()).hexdigest()


def plain(line: int, file: str = "a.jsonl") -> EncodedExample:
    ids = tuple(range(line % 5 + 2))
    return EncodedExample((TokenSegment(ids, (False, *[True] * (len(ids) - 1))),), 1.0, file, line)


def write(path: Path, *parts: list[EncodedExample]) -> Store:
    with Writer(path, ["first.jsonl"]) as writer:
        for part in parts:
            writer.write(pack(part))
    return Store(path, writer.files)


def test_a_file_does_not_depend_on_the_parts_it_came_in(tmp_path: Path) -> None:
    examples = [plain(line, f"{line // 700}.jsonl") for line in range(2 * ROWS + 9)]
    whole = write(tmp_path / "whole", examples)
    write(tmp_path / "cut", examples[:1], [], examples[1:1500], examples[1500:])
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "cut").read_bytes()
    assert list(Examples([whole])) == examples


def test_sources_follow_one_another_and_a_view_holds_none_of_them(tmp_path: Path) -> None:
    first = [plain(line) for line in range(ROWS + 3)]
    second = [plain(line, "b.jsonl") for line in range(5)]
    write(tmp_path / "a", first)
    write(tmp_path / "b", second)
    stores = Store(tmp_path / "a", ["", "a"], 0), Store(tmp_path / "b", ["", "b"], 1)
    both = Examples(stores)
    assert len(both) == len(first) + len(second)
    assert both[-1] == replace(second[-1], file="b")
    assert both.columns.source.tolist() == [0] * len(first) + [1] * len(second)
    view = both.select([ROWS + 4, 2, 2, ROWS + 1])
    assert [(e.line, e.file) for e in view] == [(1, "b"), (2, "a"), (2, "a"), (ROWS + 1, "a")]
    assert view.columns.source.tolist() == [1, 0, 0, 0]
    assert [e.line for e in view.select(np.array([3, 0]))] == [ROWS + 1, 1]
    assert [e.line for e in view[1:3]] == [2, 2]
    with pytest.raises(IndexError):
        view[4]
    assert view.fingerprint() == Examples.of(list(view)).fingerprint()


def test_the_hash_of_a_known_example_is_the_same_on_every_machine() -> None:
    ids, mask = (1, 2, 300_000), (False, True, True)
    example = EncodedExample((TokenSegment(ids, mask, weights=(1.0, 0.5, 2.0)),), weight=1.5)
    assert Examples.of([example]).fingerprint().startswith("30f27b9b8efdb96684a2ac3b")


def test_no_examples_are_a_file_too(tmp_path: Path) -> None:
    empty = Examples([write(tmp_path / "none")])
    assert len(empty) == len(empty.columns.digest) == len(empty.select([])) == 0
