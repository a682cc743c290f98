"""The most frequent of very many things, in the memory of a few.

Misra & Gries 1982, "Finding repeated elements"; merged as in Agarwal et al. 2012, "Mergeable
summaries": whatever makes up more than 1/k of all is kept. The counts that are shown are counted
exactly elsewhere; this remembers the texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

KEPT = 2048
"""How many are kept."""


@dataclass
class Frequent:
    """The candidates for the most frequent: their texts by key.

    Attributes:
        counts: by key, how often it came at least.
        texts: by key, its text.
    """

    counts: dict[int, int] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)

    def add(self, key: int, text: str) -> None:
        """Count one more; the first text of a key is the one that stays."""
        self.counts[key] = self.counts.get(key, 0) + 1
        self.texts.setdefault(key, text)

    def merge(self, later: Frequent) -> None:
        """Take in what came after."""
        for key, count in later.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count
            self.texts.setdefault(key, later.texts[key])
        if len(self.counts) > KEPT:
            self._prune()

    def _prune(self) -> None:
        over = sorted(self.counts.values(), reverse=True)[KEPT]
        self.counts = {key: n - over for key, n in self.counts.items() if n > over}
        self.texts = {key: self.texts[key] for key in self.counts}
