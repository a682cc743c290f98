from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anima_core.batch import Batch, EncodedExample, Role, TokenSegment
from anima_core.data.collate import collate


@st.composite
def token_segments(draw: st.DrawFn, parent: int, role: Role) -> TokenSegment:
    size = draw(st.integers(1, 5))
    ids = draw(st.lists(st.integers(0, 90), min_size=size, max_size=size))
    mask = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    if parent < 0:
        mask[0] = False
    weight = st.sampled_from([0.25, 1.0, 3.0])
    own = draw(st.just([]) | st.lists(weight, min_size=size, max_size=size))
    return TokenSegment(tuple(ids), tuple(mask), role, parent, tuple(own))


@st.composite
def encoded(draw: st.DrawFn) -> EncodedExample:
    segments: list[TokenSegment] = []
    roots: list[int] = []
    for index in range(draw(st.integers(1, 4))):
        parent = draw(st.sampled_from([-1, *roots]))
        segments.append(draw(token_segments(parent, draw(st.sampled_from(list(Role))))))
        if parent < 0:
            roots.append(index)
    return EncodedExample(tuple(segments), weight=draw(st.floats(0.5, 4, width=32)))


def slowly(examples: list[EncodedExample], rows: list[int]) -> dict[str, list[object]]:
    """One token at a time: for each, its whole own sequence is spelt out."""
    out: dict[str, list[object]] = {
        k: []
        for k in ("ids", "positions", "example", "role", "supervised", "sources", "target_weights")
    }
    place: dict[tuple[int, int, int], int] = {}
    for number, row in enumerate(rows):
        segments = examples[row].segments
        for index, segment in enumerate(segments):
            path = [(index, i) for i in range(len(segment.ids))]
            before: list[tuple[int, int]] = []
            if segment.parent >= 0:
                before = [(segment.parent, i) for i in range(len(segments[segment.parent].ids))]
            for at in path:
                place[(number, *at)] = len(out["ids"])
                out["ids"].append(segment.ids[at[1]])
                out["positions"].append(len(before))
                out["example"].append(number)
                out["role"].append(int(segment.role))
                out["supervised"].append(segment.supervised[at[1]])
                if segment.supervised[at[1]]:
                    own = segment.weights[at[1]] if segment.weights else 1.0
                    out["target_weights"].append(examples[row].weight * own)
                    out["sources"].append(place[(number, *before[-1])])
                before.append(at)
    return out


@given(data=st.data(), examples=st.lists(encoded(), min_size=1, max_size=5))
def test_collate_equals_the_slow_way(data: st.DataObject, examples: list[EncodedExample]) -> None:
    rows = data.draw(st.permutations(range(len(examples))))
    rows = rows[: data.draw(st.integers(1, len(rows)))]
    batch = collate(examples, rows)
    for name, values in slowly(examples, rows).items():
        assert getattr(batch, name).tolist() == pytest.approx(values, rel=1e-6), name
    assert batch.rows == tuple(rows)
    assert batch.weights.tolist() == [examples[row].weight for row in rows]
    assert batch.weights.dtype == batch.target_weights.dtype == torch.float32
    assert batch.supervised.dtype == torch.bool
    for name in ("ids", "positions", "example", "segment", "role", "sources"):
        assert getattr(batch, name).dtype == torch.int64, name


@given(examples=st.lists(encoded(), min_size=1, max_size=4))
def test_the_layout_covers_the_tokens_in_order(examples: list[EncodedExample]) -> None:
    batch = collate(examples, range(len(examples)))
    assert batch.layout[0].start == 0
    assert batch.layout[-1].stop == batch.tokens
    wanted = [s for example in examples for s in example.segments]
    for index, (segment, original) in enumerate(zip(batch.layout, wanted, strict=True)):
        assert tuple(batch.ids[segment.start : segment.stop].tolist()) == original.ids
        assert set(batch.segment[segment.start : segment.stop].tolist()) == {index}
        if index:
            assert segment.start == batch.layout[index - 1].stop
        assert (segment.parent >= 0) == (original.parent >= 0)
        if segment.parent >= 0:
            parent = batch.layout[segment.parent]
            assert batch.example[parent.start] == batch.example[segment.start]
            assert batch.positions[segment.start] == parent.stop - parent.start


def test_the_picture_in_the_module_docstring() -> None:
    pair = EncodedExample(
        (
            TokenSegment((1, 2, 3, 4), (False,) * 4, Role.PROMPT),
            TokenSegment((5, 6, 7), (True,) * 3, Role.CHOSEN, 0),
            TokenSegment((8, 9, 10, 11), (True,) * 4, Role.REJECTED, 0),
        )
    )
    single = EncodedExample((TokenSegment((1, 2, 3, 4, 5), (False, False, True, True, True)),))
    batch = collate([pair, single], [0, 1])
    assert batch.segment.tolist() == [0] * 4 + [1] * 3 + [2] * 4 + [3] * 5
    assert batch.positions.tolist() == [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 0, 1, 2, 3, 4]
    assert batch.sources.tolist() == [3, 4, 5, 3, 7, 8, 9, 12, 13, 14]
    assert [s.parent for s in batch.layout] == [-1, 0, 0, -1]
    assert batch.targets.tolist() == [5, 6, 7, 8, 9, 10, 11, 3, 4, 5]


ROOT = TokenSegment((1, 2), (False, True))


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ((TokenSegment((1, 2), (True, True)),), "first token of root segment 0"),
        ((TokenSegment((), ()),), "segment 0 is empty"),
        ((TokenSegment((1, 2), (False,)),), "2 ids and a mask of 1"),
        ((TokenSegment((1, 2), (False, True), weights=(1.0,)),), "2 ids and 1 weights"),
        ((TokenSegment((1, 2), (False, True), weights=(1.0, 0.0)),), "has the weight 0.0"),
        ((TokenSegment((1, 2), (False, True), weights=(1.0, -1.0)),), "has the weight -1.0"),
        ((TokenSegment((1, 2), (False, True), weights=(1.0, math.nan)),), "has the weight nan"),
        ((TokenSegment((1,), (True,), parent=0),), "segment 0 continues 0"),
        ((TokenSegment((1,), (True,), parent=1), ROOT), "segment 0 continues 1"),
        (
            (ROOT, TokenSegment((1,), (True,), parent=0), TokenSegment((1,), (True,), parent=1)),
            "segment 2 continues 1",
        ),
    ],
)
def test_impossible_segments_are_refused(segments: tuple[TokenSegment, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        collate([EncodedExample(segments, file="a.jsonl", line=3)], [0])


def test_rows_must_exist() -> None:
    with pytest.raises(ValueError, match="at least one"):
        collate([], [])
    with pytest.raises(ValueError, match="row 1 is outside"):
        collate([EncodedExample((ROOT,))], [1])


@given(examples=st.lists(encoded(), min_size=1, max_size=4))
def test_a_batch_can_be_taken_apart_again(examples: list[EncodedExample]) -> None:
    assert unpacked(collate(examples, range(len(examples)))) == [
        replace(example, segments=tuple(map(weighed, example.segments))) for example in examples
    ]


def weighed(segment: TokenSegment) -> TokenSegment:
    """With the weight of every target written out, and none of another token."""
    weights = segment.weights or (1.0,) * len(segment.ids)
    pairs = zip(weights, segment.supervised, strict=True)
    return replace(segment, weights=tuple(w if wanted else 1.0 for w, wanted in pairs))


def unpacked(batch: Batch) -> list[EncodedExample]:
    """The examples of a batch."""
    own = torch.ones(batch.tokens)
    own[batch.supervised] = batch.target_weights / batch.weights[batch.target_example]
    examples: list[EncodedExample] = []
    for number in range(batch.examples):
        at = [i for i, s in enumerate(batch.layout) if batch.example[s.start] == number]
        segments = []
        for start, stop, parent in (batch.layout[i] for i in at):
            segments.append(
                TokenSegment(
                    tuple(batch.ids[start:stop].tolist()),
                    tuple(batch.supervised[start:stop].tolist()),
                    Role(int(batch.role[start])),
                    parent - at[0] if parent >= 0 else -1,
                    tuple(round(weight, 4) for weight in own[start:stop].tolist()),
                )
            )
        examples.append(EncodedExample(tuple(segments), float(batch.weights[number])))
    return examples
