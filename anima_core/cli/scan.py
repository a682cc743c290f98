"""Walk over a command line without knowing all of its options yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Flag:
    """An option on the command line.

    Attributes:
        index: where it stands.
        name: with its dashes, without a value: ``--dpo.beta``.
        value: its value, joined with ``=`` or the word after it; None when it has none.
        joined: whether the value is joined to it.
    """

    index: int
    name: str
    value: str | None = None
    joined: bool = False


def flags(argv: Sequence[str], takes_value: Callable[[str, str], bool]) -> Iterator[Flag]:
    """The options of a command line, up to ``--``.

    Args:
        argv: the words after the command.
        takes_value: whether an option takes the next word for its value, given both.
    """
    index = 0
    while index < len(argv):
        word = argv[index]
        if word == "--":
            return
        name, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            index += 1
        elif not word.startswith("--"):
            short, rest = word[:2], word[2:]
            taken = not rest and index + 1 < len(argv) and takes_value(short, argv[index + 1])
            yield Flag(index, short, argv[index + 1] if taken else rest or None, bool(rest))
            index += 1 + taken
        elif equals:
            yield Flag(index, name, value, joined=True)
            index += 1
        else:
            taken = index + 1 < len(argv) and takes_value(name, argv[index + 1])
            yield Flag(index, name, argv[index + 1] if taken else None)
            index += 1 + taken
