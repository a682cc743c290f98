"""A mean over everything that a run has seen, kept in its checkpoints."""

from __future__ import annotations


class RunningMean:
    """A weighted mean of the numbers added so far; 0 before the first."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._weight = 0.0

    @property
    def value(self) -> float:
        """The mean."""
        return self._sum / self._weight if self._weight else 0.0

    def add(self, total: float, weight: float) -> None:
        """Add numbers by their weighted sum and their weight."""
        self._sum += total
        self._weight += weight

    def state_dict(self) -> dict[str, float]:
        """What has been added."""
        return {"sum": self._sum, "weight": self._weight}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a `state_dict`."""
        self._sum, self._weight = float(state["sum"]), float(state["weight"])
