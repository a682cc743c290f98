"""A strategy class as if its distribution were installed, and the bundled ones beside it."""

from __future__ import annotations

import importlib
import itertools
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from types import ModuleType
from typing import Any

from anima_core.errors import AnimaError
from anima_core.registry.load import load_strategy
from anima_core.registry.names import CORE_DISTRIBUTION, normalized_distribution
from anima_core.registry.offers import GROUP, Offer, offers

_METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 0\n"
_numbers = itertools.count()


@contextmanager
def offered(cls: Any, name: str) -> Iterator[str]:
    """Let a class be selected by its name, whether or not its distribution is installed.

    Where no installed distribution offers it, there is one for as long as this lasts: real
    metadata on ``sys.path``, which nothing but this process sees.

    Args:
        cls: the strategy's class.
        name: the strategy's name.

    Yields:
        ``dist:name``, which selects this class even when another distribution offers the name.
    """
    own = [offer for offer in offers() if offer.name == name and is_of(offer, cls)]
    if own:
        yield own[0].reference
        return
    number = next(_numbers)
    module = ModuleType(f"_anima_under_check_{number}")
    module.Strategy = cls  # type: ignore[attr-defined]
    package = cls.__module__.partition(".")[0].strip("_") or "strategy"
    distribution = f"{package}-under-check-{number}"
    with tempfile.TemporaryDirectory() as folder:
        info = Path(folder) / f"{distribution.replace('-', '_')}-0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(_METADATA.format(name=distribution), encoding="utf-8")
        points = f"[{GROUP}]\n{name} = {module.__name__}:Strategy\n"
        (info / "entry_points.txt").write_text(points, encoding="utf-8")
        sys.modules[module.__name__] = module
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            yield f"{normalized_distribution(distribution)}:{name}"
        finally:
            sys.path.remove(folder)
            del sys.modules[module.__name__]


def is_of(offer: Offer, cls: Any) -> bool:
    """Whether an offer is of this class; one that does not load is of none."""
    if offer.entry_point.value == f"{cls.__module__}:{cls.__qualname__}":
        return True
    try:
        return bool(offer.entry_point.load() is cls)
    except Exception:  # noqa: BLE001 - somebody else's broken plugin
        return False


def modules_of(cls: Any, name: str) -> list[str]:
    """The modules that are imported for a class: its own, and those that entry points name."""
    own = [offer for offer in offers() if offer.name == name and is_of(offer, cls)]
    return sorted({cls.__module__, *(offer.entry_point.module for offer in own)})


def bundled() -> frozenset[str]:
    """The distributions that are made together with the core, itself among them."""
    try:
        needed = requires(CORE_DISTRIBUTION) or []
    except PackageNotFoundError:
        needed = []
    extras = (line.partition(";") for line in needed)
    found = (re.match(r"[\w.-]+", head) for head, _, marker in extras if "extra ==" in marker)
    return frozenset(
        {CORE_DISTRIBUTION, *(normalized_distribution(m.group()) for m in found if m is not None)}
    )


def bundled_strategies() -> dict[str, Any]:
    """The classes of every strategy that a bundled distribution offers here, by name."""
    found: dict[str, Any] = {}
    for offer in offers():
        if offer.distribution in bundled():
            try:
                found[offer.name] = load_strategy(offer)
            except AnimaError:  # told by the checks of that strategy itself
                continue
    return found
