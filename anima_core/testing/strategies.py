"""Check of a strategy class: what the registry relies on, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anima_core.registry.load import check, implemented
from anima_core.testing.instances import missing_options


def check_strategy(cls: type) -> None:
    """A strategy class is sound: attributes, options, and hooks that match their specifications.

    Everything that is wrong is reported together: what the core itself refuses when it loads the
    class, a class that implements no hook, and one that cannot be built from its defaults.

    Args:
        cls: what the entry point resolves to.

    Raises:
        AssertionError: one line for each thing that is wrong.
    """
    found = [*check(cls)]
    if not found:
        found += [*_idle(cls), *_unbuilt(cls)]
    name = getattr(cls, "__qualname__", repr(cls))
    module = getattr(cls, "__module__", "?")
    assert not found, f"{module}.{name}:\n  " + "\n  ".join(found)


def _idle(cls: type) -> Iterator[str]:
    if not implemented(cls):
        yield "it implements no hook, and so does nothing"


def _unbuilt(cls: Any) -> Iterator[str]:
    if missing_options(cls, None):
        return
    try:
        cls(cls.Options())
    except Exception as error:  # noqa: BLE001 - whatever a plugin's constructor raises
        yield f"it cannot be built from its options: {type(error).__name__}: {error}"
