"""Some examples to show, the same ones for the same seed however the data is cut up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from anima_core.batch import EncodedExample


@dataclass
class Drawn:
    """The examples whose hash under the seed is smallest.

    Attributes:
        most: how many are kept.
        seed: decides which.
        kept: they, each with its hash.
    """

    most: int
    seed: int
    kept: list[tuple[int, EncodedExample]] = field(default_factory=list)

    def take(self, example: EncodedExample) -> None:
        """Keep an example if it is among the smallest."""
        if not self.most:
            return
        words = f"{self.seed}/show/{example.line}/{example.group}".encode()
        key = int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "big")
        if len(self.kept) < self.most or key < self.kept[-1][0]:
            self.kept = self._smallest([*self.kept, (key, example)])

    def merge(self, later: Drawn) -> None:
        """Take in the examples drawn of the records that follow."""
        self.kept = self._smallest(self.kept + later.kept)

    def examples(self) -> list[EncodedExample]:
        """The examples, by file and line."""
        return sorted((example for _, example in self.kept), key=lambda e: (e.file, e.line))

    def _smallest(self, of: list[tuple[int, EncodedExample]]) -> list[tuple[int, EncodedExample]]:
        return sorted(of, key=lambda kept: kept[0])[: self.most]
