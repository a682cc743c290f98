"""How many examples each source of a mixture gives, and which."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anima_core.config.values import shares
from anima_core.data.mixture import Mixture, mixed, mixture_of, quotas
from anima_core.errors import UsageError


def mixture(*parts: object) -> Mixture:
    names = tuple(f"{n}.jsonl" for n in range(len(parts)))
    return Mixture(tuple(range(len(parts))), tuple(Fraction(str(p)) for p in parts), names)


def sizes(counts: list[int], parts: list[object], most: int | None = None) -> list[int]:
    return [len(rows) for rows in mixed(counts, mixture(*parts), most, 1).rows]


@pytest.mark.parametrize(
    ("counts", "parts", "most", "taken"),
    [
        ([100, 100], [0.7, 0.3], 10, [7, 3]),
        ([100, 100], [7, 3], 10, [7, 3]),  # relative
        ([100, 100, 100], [1, 1, 1], 10, [4, 3, 3]),  # the largest remainder, the first of equals
        ([100, 30], [0.5, 0.5], None, [30, 30]),  # the smallest for its share limits all
        ([70, 30], [0.7, 0.3], None, [70, 30]),  # 0.7 and 0.3 are exact: nothing is lost to them
        ([70, 30], [0.7, 0.3], 200, [70, 30]),
        ([10, 100], [0.7, 0.3], 50, [10, 4]),
        ([100, 0], [0.5, 0.5], None, [0, 0]),
        ([5, 5], [1, 1000], None, [0, 5]),
    ],
)
def test_how_many_each_gives(
    counts: list[int], parts: list[object], most: int | None, taken: list[int]
) -> None:
    assert sizes(counts, parts, most) == taken


SHARES = st.lists(st.integers(1, 20), min_size=2, max_size=4)


@given(parts=SHARES, data=st.data(), most=st.none() | st.integers(1, 150), seed=st.integers(0, 3))
def test_shares_are_kept_and_nothing_is_taken_twice(
    parts: list[int], data: st.DataObject, most: int | None, seed: int
) -> None:
    counts = [data.draw(st.integers(0, 60)) for _ in parts]
    found = mixed(counts, mixture(*parts), most, seed)
    total = sum(map(len, found.rows))
    for rows, count, part in zip(found.rows, counts, parts, strict=True):
        assert list(rows) == sorted(set(rows))
        assert all(0 <= row < count for row in rows)
        assert abs(len(rows) - Fraction(total * part, sum(parts))) < 1
    if most is None or total < most:  # as many as there can be
        more = quotas(total + 1, [Fraction(part) for part in parts])
        exact = [Fraction((total + 1) * part, sum(parts)) for part in parts]
        assert any(e > count for e, count in zip(exact, counts, strict=True)), more
        assert found.limiting
    else:
        assert total == most
        assert not found.limiting


def test_the_seed_decides_which() -> None:
    one, again, other = (mixed([99, 99], mixture(1, 1), 20, seed) for seed in (1, 1, 2))
    assert one == again
    assert one.rows != other.rows
    assert one.rows[0] != one.rows[1]  # two sources are drawn from apart


def test_a_source_that_is_named_twice_gives_twice() -> None:
    found = mixture_of(["a.jsonl=1", "b.jsonl=1"], ["a.jsonl", "b.jsonl", "./a.jsonl"])
    assert found.pools == (0, 1, 0)
    assert found.names == ("a.jsonl", "b.jsonl")
    once = mixed([10, 100], mixture_of(["a.jsonl=1", "b.jsonl=1"], ["a.jsonl", "b.jsonl"]), None, 1)
    assert [len(rows) for rows in once.rows] == [10, 10]
    assert once.limiting == (0,)
    twice = mixed([10, 100, 10], found, None, 1)
    assert [len(rows) for rows in twice.rows] == [10, 20, 10]
    few = mixed([10, 100, 10], found, 26, 1)  # each example once before one comes again
    assert [len(rows) for rows in few.rows] == [10, 13, 3]


def test_a_path_is_the_same_however_it_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mix = ["sub/../a.jsonl=2", f"{tmp_path}/b.jsonl=1", "owner/set@x:train=3"]
    found = mixture_of(mix, [os.fspath(tmp_path / "a.jsonl"), "./b.jsonl", "owner/set@x:train"])
    assert found.pools == (0, 1, 2)
    assert found.shares == (2, 1, 3)


@pytest.mark.parametrize(
    ("mix", "sources", "what", "fix"),
    [
        (["a=1"], ["a", "b", "c"], "there is no share for b, c", "--mix b=SHARE"),
        (["a=1", "x.jsonl=1"], ["a", "y.jsonl"], "no x.jsonl among the data", "y.jsonl"),
        (["a=1", "./a=2"], ["a", "b"], "a and ./a are one source", "one share"),
        (["a=1"], ["a"], "it does nothing: there is one source", "--max-examples"),
        (["a=1"], ["a", "a"], "it does nothing: there is one source", "--max-examples"),
    ],
)
def test_refusals_name_the_sources(mix: list[str], sources: list[str], what: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        mixture_of(mix, sources)
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.where == "--mix"


def test_shares_are_read_as_text_or_from_a_mapping() -> None:
    assert shares({"a=b.jsonl": 0.7, "c": 3}) == ("a=b.jsonl=0.7", "c=3")
    assert shares("x=1e-3") == ("x=1e-3",)
    assert shares(None) == ()


@pytest.mark.parametrize("text", ["a", "=1", "a=", "a=0", "a=-1", "a=nan", "a=inf", "a=much"])
def test_a_share_is_a_number_above_0(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        shares(text)
