"""Be told of a module as soon as it has been imported, before its importer can change it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


@contextmanager
def arrivals(wanted: Callable[[str], bool], arrived: Callable[[str], None]) -> Iterator[None]:
    """Inside, call `arrived` with the name of each wanted module that has just been imported.

    Args:
        wanted: whether a module, by its full name, is one to be told of.
        arrived: called once the module's own code has run.
    """
    finder: Any = _Finder(wanted, arrived)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder:
    """Finds what the other finders find, with a loader that tells."""

    def __init__(self, wanted: Callable[[str], bool], arrived: Callable[[str], None]) -> None:
        self.wanted = wanted
        self.arrived = arrived

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a wanted module."""
        if not self.wanted(name):
            return None
        for other in sys.meta_path:
            if other is self:
                continue
            spec = other.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self.arrived)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """A loader that tells when it is done, and leaves the module as if it had not been there."""

    def __init__(self, loader: Any, arrived: Callable[[str], None]) -> None:
        self._loader = loader
        self._arrived = arrived

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._arrived(module.__spec__.name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
