"""Text of special tokens in what records say: ``<|im_end|>`` in a user's words, or a document's.

A tokenizer reads it as the token itself, whoever wrote it, so that it ends a turn which goes on, or
begins another's. That is what the field does (transformers, TRL), and is meant where documents are
joined by ``<|endoftext|>``; where it is not, it goes unseen. So it is counted, and told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from anima_core.data.chat import Renderer
from anima_core.data.formats import Example
from anima_core.data.place import place

SHOWN = 3
"""How many places are named."""


@dataclass(frozen=True)
class Where:
    """The place of a record."""

    file: str
    line: int


@dataclass
class Met:
    """What was met of special tokens' text.

    Attributes:
        records: how many records hold some.
        texts: how many hold each.
        first: the first of them.
    """

    records: int = 0
    texts: Counter[str] = field(default_factory=Counter)
    first: list[Where] = field(default_factory=list)

    def merge(self, later: Met) -> None:
        """Take in what was met in the records that follow."""
        self.records += later.records
        self.texts.update(later.texts)
        self.first = [*self.first, *later.first][:SHOWN]

    def places(self) -> tuple[str, ...]:
        """The first places, as messages name them."""
        return tuple(place(where.file, where.line) for where in self.first)


class SpecialTexts:
    """Looks for the text of one tokenizer's special tokens."""

    def __init__(self, render: Renderer) -> None:
        texts = sorted(render.special.values(), key=len, reverse=True)
        self._begins = {text[:2] for text in texts}
        # Most text parts with all of them at the first two letters.
        groups = ((b, [t[2:] for t in texts if t[:2] == b]) for b in sorted(self._begins))
        self._pattern = re.compile(
            "|".join(f"{re.escape(b)}(?:{'|'.join(map(re.escape, rest))})" for b, rest in groups)
        )
        self._end = render.special[render.eos_id]

    def note(self, example: Example, met: Met) -> None:
        """Count what an example holds of it; not the EOS that ends a plain text, as one must."""
        found = {text for part in self._parts(example) for text in self._in(part)}
        if not found:
            return
        met.records += 1
        met.texts.update(sorted(found))
        if len(met.first) < SHOWN:
            met.first.append(Where(example.file, example.line))

    def _parts(self, example: Example) -> Iterator[str]:
        yield example.text.removesuffix(self._end)
        for group in (example.messages, example.chosen, example.rejected):
            for message in group:
                yield message["content"]
                yield message.get("reasoning_content", "")

    def _in(self, text: str) -> list[str]:
        if not any(begin in text for begin in self._begins):
            return []
        return self._pattern.findall(text)
