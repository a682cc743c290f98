"""Errors that are a strategy's own, told with its origin and the way to do without it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, TypeVar

from anima_core.errors import AnimaError, SetupError
from anima_core.registry.names import CORE_DISTRIBUTION

if TYPE_CHECKING:
    from anima_core.registry.offers import Offer

T = TypeVar("T")


class FaultError(SetupError):
    """A strategy breaks what it has to keep: not the user's mistake, and not the core's."""


def way_out(distribution: str, name: str = "") -> str:
    """How to do without a distribution's strategy.

    Args:
        distribution: the distribution.
        name: the strategy, where leaving out its own flag would do.
    """
    if distribution == CORE_DISTRIBUTION:
        return f"reinstall {distribution}"
    own = f"leave out --{name}, or the distribution" if name else "leave it out"
    return f"{own} with --no-plugin {distribution}"


def broken(offer: Offer, what: str, fix: str = "") -> FaultError:
    """The error about an offer that cannot be used; `fix` is what else would mend it."""
    out = way_out(offer.distribution)
    if fix and offer.distribution != CORE_DISTRIBUTION:
        out = f"{fix}, or {out}"
    return FaultError(what, where=str(offer), fix=out)


def replaced(names: Sequence[str]) -> str:
    """What is said of attributes that were replaced for the whole process."""
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"replaced {shown}, which every model of the process shares (put back now)"


def carefully(action: Callable[[], T], fault: Callable[[str], Exception]) -> T:
    """Let a strategy's code run: quiet on standard output, watched, and blamed if it fails.

    Args:
        action: runs it.
        fault: makes the error to raise of what is to be said of it.

    Raises:
        AnimaError: as the code raised it.
        Exception: what `fault` made: the code raised anything else, tried to end the process, or
            replaced what every model shares.
    """
    from anima_core.registry.globals import watched

    with watched() as changed:
        answer = quietly(action, fault)
    if changed:
        raise fault(replaced(changed))
    return answer


def quietly(action: Callable[[], T], fault: Callable[[str], Exception]) -> T:
    """The same without the watch."""
    try:
        with off_stdout():
            return action()
    except AnimaError:
        raise
    except (Exception, SystemExit) as error:
        raise fault(f"failed: {described(error)}") from error


def described(error: BaseException) -> str:
    """An exception in one line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


@contextmanager
def off_stdout() -> Iterator[None]:
    """Send what is printed inside to standard error: standard output is for results."""
    with redirect_stdout(sys.stderr):
        yield
