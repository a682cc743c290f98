"""What was seen of some records; parts of a data set are merged in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anima_core.batch import EncodedExample
from anima_core.data.audit.drawn import Drawn
from anima_core.data.audit.endings import Endings
from anima_core.data.audit.frequent import Frequent
from anima_core.data.audit.noted import Noted
from anima_core.data.audit.overlimit import OverLimit
from anima_core.data.audit.roundtrip import RoundTrip
from anima_core.data.audit.rows import ROW
from anima_core.data.tally import Tally

if TYPE_CHECKING:
    from anima_core.data.audit.rows import Rows


@dataclass
class Observed:
    """Everything that was seen of some records.

    Attributes:
        tally: counts of the records and of what came of them.
        drawn: examples to show.
        asked: examples to show that were asked for by their place.
        files: the files that records came from.
        blocks: a row of numbers for each example (see `ROW`).
        idle: examples without anything to learn, by reason.
        broken: examples with characters that could not be read.
        endings, over, trip: see their classes.
        answers: the texts of frequent answers.
    """

    drawn: Drawn
    tally: Tally = field(default_factory=Tally)
    asked: list[EncodedExample] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    blocks: list[Rows] = field(default_factory=list)
    idle: dict[str, Noted] = field(default_factory=dict)
    endings: Endings = field(default_factory=Endings)
    broken: Noted = field(default_factory=Noted)
    over: OverLimit = field(default_factory=OverLimit)
    trip: RoundTrip = field(default_factory=RoundTrip)
    answers: Frequent = field(default_factory=Frequent)

    def merge(self, later: Observed) -> None:
        """Take in what was seen of the records that follow."""
        self.tally.merge(later.tally)
        self.drawn.merge(later.drawn)
        self.asked += later.asked
        self._merge_rows(later.files, later.blocks)
        for reason, noted in later.idle.items():
            self.idle.setdefault(reason, Noted()).merge(noted)
        self.endings.merge(later.endings)
        self.broken.merge(later.broken)
        self.over.merge(later.over)
        self.trip.merge(later.trip)
        self.answers.merge(later.answers)

    def file(self, name: str) -> int:
        """The index of a file in `files`, where it is put if it is new."""
        if not self.files or self.files[-1] != name:
            if name in self.files:
                return self.files.index(name)
            self.files.append(name)
        return len(self.files) - 1

    def rows(self) -> Rows:
        """The rows of all examples, in order."""
        if len(self.blocks) != 1:
            self.blocks = [np.concatenate(self.blocks) if self.blocks else np.zeros(0, ROW)]
        return self.blocks[0]

    def _merge_rows(self, files: Sequence[str], blocks: Sequence[Rows]) -> None:
        here = np.array([self.file(name) for name in files], np.int32)
        for block in blocks:
            block["file"] = here[block["file"]]
            self.blocks.append(block)
