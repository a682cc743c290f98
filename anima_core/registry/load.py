"""Import one offered strategy, and check its class at the door."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from anima_core.errors import AnimaError
from anima_core.registry.blame import broken, described, off_stdout, replaced
from anima_core.registry.globals import watched
from anima_core.registry.names import CORE_DISTRIBUTION
from anima_core.registry.offers import Offer, refusal
from anima_core.registry.soundness import check, implemented, speaks_later_api

if TYPE_CHECKING:
    from anima_core.strategy import Strategy

__all__ = ["check", "implemented", "load_strategy"]

_changing: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()
"""What the import of a module replaced for the whole process: it runs once, and is undone."""


def load_strategy(offer: Offer) -> type[Strategy]:
    """Import the class behind an offer and check that it is what the core can use.

    Raises:
        SetupError: naming strategy, distribution and version, with everything that is wrong: it
            does not import, replaces what every model shares, is built for another hook API, or
            breaks one of the rules that `check` lists.
    """
    reason = refusal(offer)
    if reason:
        raise broken(offer, reason)
    loaded = _imported(offer)
    problems = list(check(loaded))
    if problems:
        raise broken(offer, "; ".join(problems), fix=_older(offer, loaded))
    cls: type[Strategy] = loaded
    return cls


def _imported(offer: Offer) -> Any:
    with watched() as changed:
        try:
            with off_stdout():
                loaded = offer.entry_point.load()
        except AnimaError as error:
            raise broken(offer, f"does not import: {error.what}", fix=error.fix) from error
        except (Exception, SystemExit) as error:
            what = f"does not import: {described(error)}"
            raise broken(offer, what, fix=f"reinstall {offer.distribution}") from error
    module = sys.modules[offer.entry_point.module]
    if changed:
        _changing[module] = f"its import {replaced(changed)}"
    if module in _changing:
        raise broken(offer, _changing[module])
    return loaded


def _older(offer: Offer, cls: Any) -> str:
    """What mends a strategy that was written for a later core."""
    if not speaks_later_api(cls):
        return ""
    newer = f"upgrade Anima (pip install --upgrade {CORE_DISTRIBUTION})"
    return f"{newer}, install an older {offer.distribution}"
