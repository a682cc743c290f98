"""Dialogues for tests, and what of their tokens is taught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerFast

from anima_core.batch import TokenSegment


def say(*turns: str) -> tuple[dict[str, Any], ...]:
    names = {"u": "user", "a": "assistant", "s": "system"}
    return tuple({"role": names[t[0]], "content": t[2:]} for t in turns)


def decoded(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False))


def runs(tokenizer: PreTrainedTokenizerFast, segment: TokenSegment) -> list[str]:
    """The decoded runs of supervised tokens."""
    out: list[list[int]] = []
    before = False
    for token, wanted in zip(segment.ids, segment.supervised, strict=True):
        if wanted and not before:
            out.append([])
        if wanted:
            out[-1].append(token)
        before = wanted
    return [decoded(tokenizer, ids) for ids in out]
