"""The conformance kit in a process of its own: what a plugin does there touches nobody else.

Run as ``python -m anima_core.testing.process DISTRIBUTION``; every line of standard output is one
JSON object: ``{"strategy", "check"}`` as a check begins, the same with ``"state"`` (``ok``,
``failed`` or ``skipped``), ``"reason"`` and ``"seconds"`` when it is over, and ``{"end": true}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO
from unittest import SkipTest

from anima_core.errors import AnimaError
from anima_core.registry.load import load_strategy
from anima_core.registry.offers import Offer, offers
from anima_core.testing.conformance import checks_for

if TYPE_CHECKING:
    from types import TracebackType


def main(distribution: str) -> None:
    """Check every strategy that a distribution offers."""
    from anima_core.cli.quiet import settle_libraries

    out = _own_output()
    settle_libraries(debug=False)
    for offer in offers():
        if offer.distribution == distribution:
            for said in _checked(offer):
                out.write(json.dumps({"strategy": offer.name, **said}) + "\n")
                out.flush()
    out.write(json.dumps({"end": True}) + "\n")


def _own_output() -> TextIO:
    """Standard output for what is said here alone; whatever a plugin prints goes to the errors."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


def _checked(offer: Offer) -> Iterator[dict[str, Any]]:
    """What becomes of each check of one strategy."""
    loaded: list[Any] = []
    yield {"check": "load"}
    yield {"check": "load", **_outcome(lambda: loaded.append(load_strategy(offer)))}
    if not loaded:
        return
    for check in checks_for(loaded[0], offer.name):
        yield {"check": str(check)}
        yield {"check": str(check), **_outcome(check)}


def _outcome(check: Callable[[], None]) -> dict[str, Any]:
    """State, reason and seconds of one check."""
    began = time.monotonic()
    try:
        check()
    except (SkipTest, AssertionError, AnimaError) as error:
        state = "skipped" if isinstance(error, SkipTest) else "failed"
        told = error.what if isinstance(error, AnimaError) else str(error)
        reason = told or _place(error.__traceback__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit too: it is the plugin's
        said = str(error).strip().splitlines()[:1]
        reason = f"{type(error).__name__}: {''.join(said)} ({_place(error.__traceback__)})"
        state = "failed"
    else:
        state, reason = "ok", ""
    seconds = round(time.monotonic() - began, 2)
    return {"state": state, "reason": reason, "seconds": seconds}


def _place(trace: TracebackType | None) -> str:
    """The innermost line of a traceback."""
    frames = traceback.extract_tb(trace)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no traceback"


if __name__ == "__main__":
    main(sys.argv[1])
