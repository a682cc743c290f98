"""Beside which of the bundled strategies a strategy can be asked to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anima_core.hookspecs import HOOKS
from anima_core.testing.installed import bundled_strategies


@dataclass(frozen=True)
class Company:
    """A run of a strategy and others.

    Attributes:
        others: names of the others, in the order of a command line.
        skip: why there can be no such run here; empty when there can.
    """

    others: tuple[str, ...] = ()
    skip: str = ""

    def __str__(self) -> str:
        return f"run beside {' and '.join(self.others)}" if self.others else "run"


def companies(cls: Any, name: str) -> list[Company]:
    """A strategy alone, and beside each bundled one that it can be combined with.

    Left out are the core's defaults (the run alone has them), those that answer one of its slots,
    and those that either of the two names among its ``conflicts``. What the two require, and an
    adapter for weights that cannot be trained themselves, is added.

    Args:
        cls: the strategy's class.
        name: its name.
    """
    known = bundled_strategies()
    defaults = {info.default for info in HOOKS.values()}
    beside = [
        other
        for other, theirs in known.items()
        if other not in {name, *defaults}
        and not set(theirs.slots) & set(cls.slots)
        and other not in cls.conflicts
        and name not in theirs.conflicts
    ]
    return [_company(cls, name, others, known) for others in ((), *((one,) for one in beside))]


def _company(cls: Any, name: str, others: Sequence[str], known: Mapping[str, Any]) -> Company:
    members = [*others]
    for member in (cls, *(known[other] for other in others)):
        members += [n for n in member.requires if n not in members and n != name]
    missing = [n for n in members if n not in known]
    if missing:
        return Company(tuple(others), f"it requires `{missing[0]}`, which is not bundled")
    classes = [cls, *(known[n] for n in members)]
    if any(getattr(c, "loads_quantized", False) for c in classes) and not _adapts(classes):
        adapter = next((n for n, c in known.items() if _only_adapts(c)), "")
        if not adapter:
            return Company(tuple(others), "its weights cannot be trained, and no adapter is here")
        members.append(adapter)
    return Company(tuple(members))


def _adapts(classes: Sequence[Any]) -> bool:
    return any("adapt_model" in cls.slots for cls in classes)


def _only_adapts(cls: Any) -> bool:
    return tuple(cls.slots) == ("adapt_model",) and not getattr(cls, "trains_base", False)
