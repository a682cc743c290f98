"""What the records' own texts hold that may not be meant: special tokens, broken characters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from anima_core.data.audit.noted import Noted
from anima_core.data.formats import Example

REPLACEMENT = "\ufffd"
"""What decoders put in the place of bytes that they could not read."""


@dataclass
class Contents:
    """What was found in the records' texts.

    Attributes:
        special: examples that write a special token as text.
        special_texts: how many examples write each.
        replaced: examples with `REPLACEMENT`.
    """

    special: Noted = field(default_factory=Noted)
    special_texts: Counter[str] = field(default_factory=Counter)
    replaced: Noted = field(default_factory=Noted)

    def take(self, example: Example, place: str, special: re.Pattern[str] | None) -> None:
        """Look at an example's texts.

        Args:
            example: the example.
            place: its file and line.
            special: matches special tokens; None where there are none.
        """
        texts = list(texts_of(example))
        found = {
            text for content in texts for text in (special.findall(content) if special else ())
        }
        if found:
            self.special.add(place)
            self.special_texts.update(found)
        if any(REPLACEMENT in content for content in texts):
            self.replaced.add(place)

    def merge(self, later: Contents) -> None:
        """Take in what was found in the records that follow."""
        self.special.merge(later.special)
        self.special_texts.update(later.special_texts)
        self.replaced.merge(later.replaced)


def texts_of(example: Example) -> Iterator[str]:
    """Every text of an example that goes into its tokens."""
    if example.text:
        yield example.text
    for message in (*example.messages, *example.chosen, *example.rejected):
        yield message["content"]


def last_answer(example: Example) -> str:
    """What the example teaches last: a pair's better answer, a dialogue's last, or the text."""
    messages = example.chosen or example.messages
    return str(messages[-1]["content"]) if messages else example.text


def special_pattern(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Matches any of some special tokens' texts, the longest first; None for no text."""
    ordered = sorted({text for text in texts if text.strip()}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None
