"""What was counted while records were encoded; parts of a data set are merged in their order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from anima_core.data.audit.noted import Noted
from anima_core.data.faults import Faults
from anima_core.data.overlong import Lengths
from anima_core.data.placeholders import Named
from anima_core.data.renamed import Seen
from anima_core.data.special_text import Met


@dataclass
class Tally:
    """Counts of some records and of the examples that came of them.

    Attributes:
        records: how many came.
        faults: the records that cannot be used.
        formats: how many usable records came in each format.
        unread: fields that were not read, in the order in which they came up.
        remarks: how many records were read otherwise than they stand there, by sentence.
        placeholders: what was filled, and what was not.
        columns: the columns that were renamed.
        unsupervised: examples left out since they have nothing to learn from.
        short: examples left out since they are shorter than ``--min-length``.
        lengths: how the others stand to the limit.
        weighted: examples within the limit whose messages have weights other than 0 and 1.
        margined: examples within the limit that say by how much an answer is the better one.
        special: the text of special tokens in what records say.
        equal: pairs left out since their two answers are equal.
        apart: pairs of whole dialogues that part before their last answers.
    """

    records: int = 0
    faults: Faults = field(default_factory=Faults)
    formats: Counter[str] = field(default_factory=Counter)
    unread: dict[str, None] = field(default_factory=dict)
    remarks: Counter[str] = field(default_factory=Counter)
    placeholders: Named = field(default_factory=Named)
    columns: Seen = field(default_factory=Seen)
    unsupervised: int = 0
    short: int = 0
    lengths: Lengths = field(default_factory=Lengths)
    weighted: int = 0
    margined: int = 0
    special: Met = field(default_factory=Met)
    equal: Noted = field(default_factory=Noted)
    apart: Noted = field(default_factory=Noted)

    def merge(self, later: Tally) -> None:
        """Take in what was counted of the records that follow."""
        self.records += later.records
        self.faults.merge(later.faults)
        self.formats.update(later.formats)
        self.unread |= later.unread
        self.remarks.update(later.remarks)
        self.placeholders.merge(later.placeholders)
        self.columns.merge(later.columns)
        self.unsupervised += later.unsupervised
        self.short += later.short
        self.lengths.merge(later.lengths)
        self.weighted += later.weighted
        self.margined += later.margined
        self.special.merge(later.special)
        self.equal.merge(later.equal)
        self.apart.merge(later.apart)
