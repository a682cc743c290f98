"""Signals: a run that is asked to stop ends its step, saves, and says so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from anima_core.errors import InterruptedRunError


class StopSignal:
    """Whether SIGINT or SIGTERM asked the run to stop."""

    def __init__(self) -> None:
        self.number: int | None = None

    def raise_if_asked(self) -> None:
        """Stop where there is nothing to save yet.

        Raises:
            InterruptedRunError: a signal came.
        """
        if self.number is not None:
            raise InterruptedRunError(
                self.number,
                f"interrupted by {signal.Signals(self.number).name} before the first step",
                fix="Run the same command again with --resume or --overwrite.",
            )


@contextmanager
def stop_signals() -> Iterator[StopSignal]:
    """Note SIGINT and SIGTERM instead of dying of them; a second one is not held back.

    Outside of the main thread, where Python allows no handlers, nothing is changed.
    """
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        stop.number = number
        for sig, handler in previous.items():
            signal.signal(sig, handler if handler is not None else signal.SIG_DFL)

    for sig in previous:
        signal.signal(sig, note)
    try:
        yield stop
    finally:
        for sig, handler in previous.items():
            signal.signal(sig, handler if handler is not None else signal.SIG_DFL)
