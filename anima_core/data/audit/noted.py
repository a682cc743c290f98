"""How often something was met, and where it was met first."""

from __future__ import annotations

from dataclasses import dataclass, field

SHOWN = 5
"""How many places are remembered."""


@dataclass
class Noted:
    """A count with the first places.

    Attributes:
        count: how many examples.
        places: the first of them, as ``file:line``.
    """

    count: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        """Note one more example."""
        self.count += 1
        if len(self.places) < SHOWN:
            self.places.append(place)

    def merge(self, later: Noted) -> None:
        """Take in what was noted of the records that follow."""
        self.count += later.count
        self.places += later.places[: SHOWN - len(self.places)]
