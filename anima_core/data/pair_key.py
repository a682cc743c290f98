"""Which pairs of preferences have the same prompt, and the same two answers behind it."""

from __future__ import annotations

import hashlib
from array import array

from anima_core.batch import EncodedExample, Role, TokenSegment

_WORD = 0xFFFF_FFFF_FFFF_FFFF


def pair_key(example: EncodedExample) -> int:
    """64 bits that stand for a pair, whichever of its answers is the chosen one; 0 for no pair.

    It is the sum of one hash for each answer, of its ids and targets behind its prompt's.
    """
    if [s.role for s in example.segments] != [Role.PROMPT, Role.CHOSEN, Role.REJECTED]:
        return 0
    prompt, *answers = example.segments
    before = hashlib.blake2b(digest_size=8)
    _take(before, prompt)
    total = 0
    for answer in answers:
        own = before.copy()
        _take(own, answer)
        total += int.from_bytes(own.digest(), "little")
    return total & _WORD


def prompt_key(example: EncodedExample) -> int:
    """64 bits that stand for the prompt that answers continue; 0 where none does."""
    prompt, *answers = example.segments
    if not answers:
        return 0
    digest = hashlib.blake2b(digest_size=8)
    _take(digest, prompt)
    return int.from_bytes(digest.digest(), "little")


def _take(digest: hashlib.blake2b, segment: TokenSegment) -> None:
    digest.update(b"%d;" % len(segment.ids))
    digest.update(array("I", segment.ids).tobytes())
    digest.update(bytes(segment.supervised))
