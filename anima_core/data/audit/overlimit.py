"""What each ``--overlong`` mode would lose of the examples that are over the limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from anima_core.batch import EncodedExample
from anima_core.data.audit.noted import Noted
from anima_core.data.limits import Limits, is_plain


@dataclass
class Loss:
    """What is lost.

    Attributes:
        examples: how many examples, as a whole.
        targets: how many targets of all examples.
    """

    examples: int = 0
    targets: int = 0

    def merge(self, later: Loss) -> None:
        """Add what is lost of the records that follow."""
        self.examples += later.examples
        self.targets += later.targets


@dataclass
class OverLimit:
    """The examples over the limit.

    Attributes:
        over: they, and the first places.
        targets: their targets.
        plain: how many of them are plain text, which can be split without a loss.
        dropped: what ``drop`` loses.
        truncated: what ``truncate`` loses.
    """

    over: Noted = field(default_factory=Noted)
    targets: int = 0
    plain: int = 0
    dropped: Loss = field(default_factory=Loss)
    truncated: Loss = field(default_factory=Loss)

    def take(
        self,
        example: EncodedExample,
        place: str,
        limits: Limits,
        shorter: Callable[[], EncodedExample | None],
    ) -> EncodedExample | None:
        """Look at an example.

        Args:
            example: the example.
            place: where it stands.
            limits: the longest that is allowed.
            shorter: makes it fit, or gives None.

        Returns:
            What ``truncate`` makes of it: the example itself where it is within the limit, None
            where nothing would be left.
        """
        if max(limits.excess(limits.sizes(example))) <= 0:
            return example
        targets = example.supervised
        self.over.add(place)
        self.targets += targets
        self.plain += is_plain(example)
        self.dropped.merge(Loss(1, targets))
        cut = shorter()
        left = cut.supervised if cut else 0
        self.truncated.merge(Loss(int(cut is None), targets - left))
        return cut

    def merge(self, later: OverLimit) -> None:
        """Take in what was counted of the records that follow."""
        self.over.merge(later.over)
        self.targets += later.targets
        self.plain += later.plain
        self.dropped.merge(later.dropped)
        self.truncated.merge(later.truncated)
