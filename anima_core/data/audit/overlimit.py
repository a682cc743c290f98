"""What each ``--overlong`` mode would lose of the examples that are over a limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from anima_core.batch import EncodedExample
from anima_core.data.audit.noted import Noted
from anima_core.data.limits import Limits, is_plain

TRIED = 64
"""Examples of each look at some records that are shortened, where ``truncate`` is not asked for."""


@dataclass
class Loss:
    """What is lost.

    Attributes:
        of: examples over a limit that this was found of.
        examples: how many of them are lost as a whole.
        targets: how many targets of theirs.
    """

    of: int = 0
    examples: int = 0
    targets: int = 0

    def merge(self, later: Loss) -> None:
        """Add what is lost of the records that follow."""
        self.of += later.of
        self.examples += later.examples
        self.targets += later.targets


@dataclass
class OverLimit:
    """The examples over a limit.

    Attributes:
        over: they, and the first places.
        plain: how many of them are plain text, which can be split without a loss.
        dropped: what ``drop`` loses.
        truncated: what ``truncate`` loses, perhaps of some of them only.
    """

    over: Noted = field(default_factory=Noted)
    plain: int = 0
    dropped: Loss = field(default_factory=Loss)
    truncated: Loss = field(default_factory=Loss)

    def take(
        self,
        example: EncodedExample,
        place: str,
        limits: Limits,
        mode: str,
        shorter: Callable[[], EncodedExample | None],
    ) -> EncodedExample | None:
        """Look at an example.

        Args:
            example: the example.
            place: its file and line.
            limits: the longest that is allowed.
            mode: what ``--overlong`` says.
            shorter: makes the example short enough, or None where it cannot; takes a while.

        Returns:
            The example as a run has it: itself, a shorter one, or None. What is to be split, too.
        """
        if max(limits.excess(limits.sizes(example))) <= 0:
            return example
        plain, targets = is_plain(example), example.supervised
        self.over.add(place)
        self.plain += plain
        self.dropped.merge(Loss(1, 1, targets))
        cut = None
        if mode == "truncate" or self.truncated.of < TRIED:
            cut = shorter()
            left = cut.supervised if cut else 0
            self.truncated.merge(Loss(1, int(cut is None), targets - left))
        if mode == "truncate":
            return cut
        return example if mode == "split" and plain else None

    def merge(self, later: OverLimit) -> None:
        """Take in what was counted of the records that follow."""
        self.over.merge(later.over)
        self.plain += later.plain
        self.dropped.merge(later.dropped)
        self.truncated.merge(later.truncated)
