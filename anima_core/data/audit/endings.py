"""Whether the model is taught to stop: what each answer ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from anima_core.batch import EncodedExample, TokenSegment
from anima_core.data.audit.noted import Noted
from anima_core.data.audit.rows import answers_of


@dataclass
class Endings:
    """How answers end.

    Attributes:
        answers: how many there are; of a dialogue, each of its learnt turns is one.
        by_token: how many end with each special token as a target.
        open: examples with an answer that does not.
        empty: examples with an answer that holds nothing but special tokens.
    """

    answers: int = 0
    by_token: Counter[str] = field(default_factory=Counter)
    open: Noted = field(default_factory=Noted)
    empty: Noted = field(default_factory=Noted)

    @property
    def ended(self) -> int:
        """How many answers end with a special token that is a target."""
        return self.by_token.total()

    def take(
        self, example: EncodedExample, place: str, special: Mapping[int, str], *, whole: bool
    ) -> None:
        """Look at an example's answers.

        Args:
            example: the example.
            place: its file and line.
            special: the texts of the tokens that may end a turn, by id.
            whole: whether all of the text is learnt, so that the end alone counts.
        """
        ended = empty = True
        for segment in answers_of(example):
            runs = list(supervised_runs(segment))
            for start, stop in runs[-1:] if whole else runs:
                self.answers += 1
                last = segment.ids[stop - 1]
                # Where everything is learnt, what counts is the end of the text.
                closed = last in special and (not whole or stop == len(segment.ids))
                if closed:
                    self.by_token[special[last]] += 1
                ended = ended and closed
                empty = empty and all(index in special for index in segment.ids[start:stop])
        if not ended:
            self.open.add(place)
        if empty:
            self.empty.add(place)

    def merge(self, later: Endings) -> None:
        """Take in what was counted of the records that follow."""
        self.answers += later.answers
        self.by_token.update(later.by_token)
        self.open.merge(later.open)
        self.empty.merge(later.empty)


def supervised_runs(segment: TokenSegment) -> Iterator[tuple[int, int]]:
    """Start and stop of each unbroken run of targets."""
    start = -1
    for at, wanted in enumerate((*segment.supervised, False)):
        if wanted and start < 0:
            start = at
        elif not wanted and start >= 0:
            yield start, at
            start = -1
