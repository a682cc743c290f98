"""Signals: a run that is asked to stop ends its step, saves, and says so.

With several processes, a signal to one of them stops all.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from anima_core.errors import InterruptedRunError
from anima_core.training.ranks import rank_and_world
from anima_core.training.talk import exchange


class StopSignal:
    """Whether SIGINT or SIGTERM asked the run to stop.

    Attributes:
        number: the signal that came to this process, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def anywhere(self) -> int | None:
        """The signal that came to any process, or None. Called by every process of a run."""
        return next((n for n in exchange(self.number) if n is not None), None)

    def raise_if_asked(self) -> None:
        """Stop where there is nothing to save yet. Called by every process of a run.

        Raises:
            InterruptedRunError: a signal came.
        """
        number = self.anywhere()
        if number is not None:
            raise InterruptedRunError(
                number,
                f"interrupted by {signal.Signals(number).name} before the first step",
                fix="Run the same command again.",
            )


@contextmanager
def stop_signals() -> Iterator[StopSignal]:
    """Note SIGINT and SIGTERM instead of dying of them; a second one is not held back.

    With several processes it is: the launcher hands on a signal that each of them may have had
    already, and has the last word itself (torchrun kills after 30 seconds).

    Outside of the main thread, where Python allows no handlers, nothing is changed.
    """
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        stop.number = stop.number or number
        if rank_and_world()[1] > 1:
            return
        for sig, handler in previous.items():
            signal.signal(sig, handler if handler is not None else signal.SIG_DFL)

    for sig in previous:
        signal.signal(sig, note)
    try:
        yield stop
    finally:
        for sig, handler in previous.items():
            signal.signal(sig, handler if handler is not None else signal.SIG_DFL)
