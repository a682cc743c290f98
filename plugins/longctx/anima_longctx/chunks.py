"""How tokens and vocabulary are cut. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator


def even_width(vocab: int, most: int) -> int:
    """The width of chunks that cut a vocabulary evenly, into two at least.

    Two at least, so that the logits of all tokens are never one tensor, however few they are.

    Args:
        vocab: entries of the vocabulary, 1 or more.
        most: the widest chunk allowed.
    """
    chunks = max(2, -(-vocab // most))
    return -(-vocab // chunks)


def spans(count: int, width: int) -> Iterator[slice]:
    """Consecutive slices of `width` that cover ``0 … count-1``; the last may be shorter."""
    for start in range(0, count, width):
        yield slice(start, min(start + width, count))
