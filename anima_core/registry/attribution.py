"""Whose an exception is that came out of the middle of a run: an object's that a hook returned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from traceback import walk_tb

from anima_core.errors import AnimaError
from anima_core.registry.blame import described
from anima_core.registry.names import CORE_DISTRIBUTION
from anima_core.registry.selection import Provider, Selection, fault_of


@contextmanager
def attributed(selection: Selection) -> Iterator[None]:
    """Tell an exception that passed through a strategy's own code as that strategy's.

    A hook is called once, and what it returned works for the rest of the run: a loss, a kernel, a
    callback. Errors that a user can mend, and a machine without memory, pass as they are.

    Raises:
        FaultError: naming the strategy; what was raised is its cause.
    """
    try:
        yield
    except AnimaError:
        raise
    except (Exception, SystemExit) as error:
        found = None if _out_of_memory(error) else culprit(error, selection.members)
        if found is None:
            raise
        raise fault_of(found)(f"failed: {described(error)}") from error


def culprit(error: BaseException, members: Sequence[Provider]) -> Provider | None:
    """The member in whose package an exception was raised or passed through, innermost first.

    Args:
        error: what was raised.
        members: those of the run; the core's own are not looked for.
    """
    outside = [member for member in members if member.distribution != CORE_DISTRIBUTION]
    frames = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    for module in reversed(frames):
        found = [m for m in outside if module == m.cls.__module__] or [
            m for m in outside if module.split(".")[0] == m.cls.__module__.split(".")[0]
        ]
        if found:
            return found[0]
    return None


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
