"""What every model of a process shares in torch and transformers, watched while a plugin works.

A strategy changes the model that it is given and nothing else. `watched` keeps, by identity, the
functions and classes of the modules that plugins are tempted to patch, and puts back what was
replaced. New attributes (lazy imports, registrations) are nobody's fault.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from anima_core.registry.arrivals import arrivals

_TORCH = ("torch", "torch.nn", "torch.nn.functional", "torch.utils.checkpoint")
_UTILS = "transformers.modeling_utils"
_MODELING = re.compile(r"transformers\.models\.\w+\.modeling_\w+")
_GONE = object()
_LAZY = frozenset({"__annotations__", "__annotate__", "__annotate_func__", "__abstractmethods__"})
"""Attributes of classes that Python itself fills in when they are first asked for."""


@contextmanager
def watched() -> Iterator[list[str]]:
    """Find, name and undo every attribute that is replaced inside.

    Watched are functions, classes and methods of torch, ``torch.nn`` and its layers,
    ``torch.nn.functional``, ``torch.Tensor``, and transformers' ``modeling_utils`` and the
    modeling modules, whether they are loaded already or become so inside. Takes a
    millisecond.

    Yields:
        A list, empty until the end: the full names of what was replaced (and put back).
    """
    found: list[str] = []
    kept = [kept for name in _loaded() for kept in _owners(name)]
    with arrivals(_is_watched, lambda name: kept.extend(_arrived(name))):
        try:
            yield found
        finally:
            found += sorted({name for owner in kept for name in owner.put_back()})


@dataclass(frozen=True)
class _Owner:
    """A module or class, and its attributes: as they are, and as they were."""

    label: str
    owner: ModuleType | type
    now: Mapping[str, Any]
    before: Mapping[str, Any]

    @classmethod
    def of(cls, label: str, owner: ModuleType | type) -> _Owner:
        now = vars(owner)
        return cls(label, owner, now, dict(now))

    def unchanged(self) -> bool:
        """Whether it has the attributes that it had, and no other."""
        try:
            return self.now == self.before  # which looks for the same objects first: microseconds
        except Exception:  # noqa: BLE001 - something was put there that cannot be compared
            return False

    def put_back(self) -> Iterator[str]:
        """Undo what was replaced or taken away; its names."""
        if self.unchanged():
            return
        now = dict(self.now)
        for name, was in self.before.items():
            new = now.get(name, _GONE)
            if new is not was and _is_code(was) and not _own_wrapping(new, was):
                setattr(self.owner, name, was)
                yield f"{self.label}.{name}"
        if isinstance(self.owner, type):
            for name in now.keys() - self.before.keys() - _LAZY:
                if _is_code(now[name]) and self._inherits(self.owner, name):
                    delattr(self.owner, name)
                    yield f"{self.label}.{name}"

    @staticmethod
    def _inherits(owner: type, name: str) -> bool:
        """Whether an attribute that is new in a class hides one of a class that it derives from."""
        return any(_is_code(vars(base).get(name)) for base in owner.__mro__[1:])


def _is_code(value: Any) -> bool:
    return callable(value) or isinstance(value, (staticmethod, classmethod, property))


def _own_wrapping(new: Any, was: Any) -> bool:
    """Whether torch or transformers wraps a function of its own, as torch does for dynamo."""
    home = getattr(new, "__globals__", {}).get("__name__", "").partition(".")[0]
    return home in ("torch", "transformers") and getattr(new, "__wrapped__", None) is was


def _is_watched(name: str) -> bool:
    return name in ("torch", _UTILS) or bool(_MODELING.fullmatch(name))


def _loaded() -> list[str]:
    modeling = [
        name
        for name in list(sys.modules)
        if name.startswith("transformers.models.") and _MODELING.fullmatch(name)
    ]
    return [name for name in (*_TORCH, _UTILS, *modeling) if name in sys.modules]


def _arrived(name: str) -> list[_Owner]:
    """What to keep of a module that has just been imported; torch brings its parts."""
    names = [part for part in _TORCH if part in sys.modules] if name == "torch" else [name]
    return [owner for part in names for owner in _owners(part)]


_KNOWN: dict[str, tuple[_Owner, ...]] = {}
"""What was last kept of each module."""


def _owners(name: str) -> tuple[_Owner, ...]:
    """What to keep of a module: what was kept of it last, where it is still as it was."""
    known = _KNOWN.get(name, ())
    same = known and known[0].owner is sys.modules[name]
    if not (same and all(owner.unchanged() for owner in known)):
        known = _KNOWN[name] = tuple(_looked_at(name))
    return known


def _looked_at(name: str) -> Iterator[_Owner]:
    module = _Owner.of(name, sys.modules[name])
    yield module
    for word, value in module.before.items():
        if isinstance(value, type) and _belongs(name, word, value):
            yield _Owner.of(f"{name}.{word}", value)


def _belongs(module: str, word: str, cls: type) -> bool:
    """Whether the attributes of a class are watched with its module's."""
    if module == "torch":
        return word == "Tensor"
    if module == "torch.nn":
        return cls.__module__.startswith("torch.nn.")
    return cls.__module__ == module and cls.__name__ == word
