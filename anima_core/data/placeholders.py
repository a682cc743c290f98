"""Placeholders such as ``{{name}}`` in what is to be learnt: found, and filled where asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from anima_core.data.formats import Example
from anima_core.data.turns import Message

_PLACEHOLDER = re.compile(r"(?<!\$)\{\{\s*([A-Za-z_][\w.-]*)\s*\}\}")


@dataclass
class Named:
    """How often placeholders were met.

    Attributes:
        filled: how many examples had each placeholder that was filled.
        open: how many examples have each placeholder that was not.
    """

    filled: Counter[str] = field(default_factory=Counter)
    open: Counter[str] = field(default_factory=Counter)

    def merge(self, later: Named) -> None:
        """Take in what was met in the examples that follow."""
        self.filled.update(later.filled)
        self.open.update(later.open)


class Placeholders:
    """Fills placeholders, and counts the others."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def fill(self, example: Example, named: Named) -> Example:
        """The example with the values that were given in the place of their names; counted."""
        groups = (example.messages, example.chosen, example.rejected)
        texts = [example.text, *(m["content"] for group in groups for m in group)]
        if not any("{{" in text for text in texts):
            return example
        names = {name for text in texts for name in _PLACEHOLDER.findall(text)}
        for name in sorted(names):
            (named.filled if name in self._values else named.open)[name] += 1
        if not names & self._values.keys():
            return example
        messages, chosen, rejected = (tuple(map(self._message, group)) for group in groups)
        return replace(
            example,
            messages=messages,
            chosen=chosen,
            rejected=rejected,
            text=self._text(example.text),
        )

    def _message(self, message: Message) -> Message:
        return {**message, "content": self._text(message["content"])}

    def _text(self, text: str) -> str:
        return _PLACEHOLDER.sub(lambda m: self._values.get(m[1], m[0]), text)
