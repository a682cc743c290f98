"""A mixture: how many examples each source gives, by its share, and which.

    --mix a.jsonl=0.7 --mix b.jsonl=0.3     of 10 examples, 7 of a and 3 of b

Shares are of examples, and relative: 7 and 3 mean the same. They are kept exactly, to the example,
and no example is taken twice, so the source that is smallest for its share limits the whole. A
source that is named twice gives each of its examples up to twice.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from anima_core.config.paths import home_expanded
from anima_core.config.values import shares_of
from anima_core.errors import UsageError
from anima_core.registry.names import did_you_mean


@dataclass(frozen=True)
class Mixture:
    """What ``--mix`` asks of the sources of a data set.

    Attributes:
        pools: for each source, in order, which of `shares` it gives to; a source that is named
            twice gives to one share twice.
        shares: what each is to have of all examples; relative.
        names: the source of each share.
    """

    pools: tuple[int, ...]
    shares: tuple[Fraction, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Mixed:
    """Examples of a mixture.

    Attributes:
        rows: for each source the numbers of the examples taken, ascending.
        limiting: the shares (by index) of which every example was taken, because one more of the
            whole would want more of them than there are.
    """

    rows: tuple[Sequence[int], ...]
    limiting: tuple[int, ...] = ()


def mixture_of(mix: Sequence[str], sources: Sequence[str]) -> Mixture:
    """Match shares with the sources that they are of.

    Args:
        mix: texts ``SOURCE=SHARE``.
        sources: the sources of the data, in order. A path means the same however it is spelled.

    Raises:
        UsageError: a source without a share, a share of no source, two shares of one source, or
            only one source.
    """
    given = shares_of(mix)
    of_place: dict[str, str] = {}
    for name in given:
        first = of_place.setdefault(_place(name), name)
        if first != name:
            raise _refused(f"{first} and {name} are one source", "Give it one share.")
    places = [_place(source) for source in sources]
    unknown = [name for place, name in of_place.items() if place not in places]
    if unknown:
        hint = did_you_mean(unknown[0], sources) or f"The data is {', '.join(sources)}."
        raise _refused(f"there is no {', '.join(unknown)} among the data", hint)
    distinct = list(dict.fromkeys(places))
    missing = [sources[places.index(place)] for place in distinct if place not in of_place]
    if missing:
        fix = f"Give each source one: --mix {missing[0]}=SHARE."
        raise _refused(f"there is no share for {', '.join(missing)}", fix)
    if len(distinct) == 1:
        raise _refused(
            "it does nothing: there is one source",
            "Name other data beside it, or say --max-examples for fewer of it.",
        )
    return Mixture(
        tuple(distinct.index(place) for place in places),
        tuple(given[of_place[place]] for place in distinct),
        tuple(sources[places.index(place)] for place in distinct),
    )


def mixed(counts: Sequence[int], mixture: Mixture, most: int | None, seed: int) -> Mixed:
    """Choose the examples of a mixture.

    Args:
        counts: how many examples each source has.
        mixture: the shares.
        most: examples of the whole at most; as many as the shares allow when None.
        seed: decides which.

    Returns:
        The examples. Their numbers are as near to the shares as whole numbers come (largest
        remainder), and none is taken twice from one source.
    """
    there = [0] * len(mixture.shares)
    for pool, count in zip(mixture.pools, counts, strict=True):
        there[pool] += count
    whole = sum(mixture.shares, Fraction(0))
    room = [count * whole / share for count, share in zip(there, mixture.shares, strict=True)]
    total = int(min(room))
    limiting = tuple(index for index, part in enumerate(room) if int(part) == total)
    if most is not None and most <= total:
        total, limiting = most, ()
    left = quotas(total, mixture.shares)
    rows: list[Sequence[int]] = []
    for number, (pool, count) in enumerate(zip(mixture.pools, counts, strict=True)):
        wanted = min(left[pool], count)
        left[pool] -= wanted
        # A string is seeded through SHA-512, so it is the same draw on every machine.
        draw = random.Random(f"{seed}/mix/{number}")  # noqa: S311 - a choice, not a secret
        every = range(count)
        rows.append(sorted(draw.sample(every, wanted)) if wanted < count else every)
    return Mixed(tuple(rows), limiting)


def quotas(total: int, shares: Sequence[Fraction]) -> list[int]:
    """Part a number by shares, by the largest remainder; the first of equal ones goes first."""
    whole = sum(shares, Fraction(0))
    exact = [total * share / whole for share in shares]
    parts = [int(part) for part in exact]
    by_rest = sorted(range(len(shares)), key=lambda i: (parts[i] - exact[i], i))
    for index in by_rest[: total - sum(parts)]:
        parts[index] += 1
    return parts


def _place(source: str) -> str:
    """What a source is compared by: its absolute path, whether or not it is one."""
    return os.path.normpath(home_expanded(source).absolute())


def _refused(what: str, fix: str) -> UsageError:
    return UsageError(what, where="--mix", fix=fix)
