"""What is said of a run's reference log-probs, and a pass that is interrupted half-way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from anima_core.runs.reporter import SilentReporter

Trace = list[tuple[float, float]]


class Listener(SilentReporter):
    """Notes what is said, and how a pass goes; interrupts it after so many micro-batches."""

    def __init__(self, stop_after: int = -1) -> None:
        self.said: list[str] = []
        self.told: list[int] = []
        self.stop_after = stop_after

    def note(self, text: str) -> None:
        self.said.append(text)

    warn = note

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:  # type: ignore[override]
        if name != "reference log-probs":
            yield lambda _: None
            return

        def tell(units: int) -> None:
            self.told.append(units)
            if len(self.told) == self.stop_after + 1:  # the first says what was there
                os.kill(os.getpid(), signal.SIGINT)

        yield tell
        assert sum(self.told) == total

    @property
    def computed(self) -> int:
        """Examples computed in this run's pass."""
        return sum(self.told[1:])

    def heard(self, words: str) -> bool:
        return any(words in text for text in self.said)
