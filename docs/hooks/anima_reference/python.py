"""The pages of the public names in Python."""

from __future__ import annotations

import ast
import enum
import inspect
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

import anima_core
import anima_core.testing
from anima_reference.markdown import code, docstring, heading, prose, signature, table

_CORE = """# `anima_core`

The names that a plugin may use. They are imported from `anima_core`; a name's own module is
loaded when the name is first used, so `import anima_core` costs nothing. What stands in other
modules is the core's own affair and may change.
"""
_TESTING = """# `anima_core.testing`

Checks that any strategy can be put to, and small models and data to put it to. Each check is a
plain function that raises `AssertionError` with what was wrong. [Test a
plugin](../how-to/test.md) shows how they are used.
"""
_FIXTURES = """## Fixtures { #fixtures }

For those who ask for them, in `conftest.py`: `pytest_plugins = ["anima_core.testing.fixtures"]`.
"""


def core_page() -> str:
    """The public names of `anima_core`."""
    return _page(_CORE, anima_core, anima_core.__all__)


def testing_page() -> str:
    """The public names of `anima_core.testing`, and the fixtures for pytest."""
    names = _page(_TESTING, anima_core.testing, anima_core.testing.__all__)
    return f"{names}\n{_FIXTURES}\n{table(['fixture', 'what it gives'], list(_fixtures()))}\n"


def _fixtures() -> Iterator[list[str]]:
    """The fixtures, read from their source: the site is built without pytest."""
    path = Path(anima_core.testing.__file__).with_name("fixtures.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            yield [code(node.name), prose(ast.get_docstring(node) or "")]


def _page(head: str, module: ModuleType, names: list[str]) -> str:
    parts = [head]
    for name in sorted(names, key=lambda n: (n.strip("_").lower(), n)):
        parts += [heading(2, name, name), *_named(module, name)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _named(module: ModuleType, name: str) -> Iterator[str]:
    value: Any = getattr(module, name)
    if inspect.isclass(value):
        yield from _class(name, value)
    elif inspect.isroutine(value):
        yield signature(name, value)
        yield docstring(value)
    elif inspect.ismodule(value):
        yield docstring(value)
        for inner in getattr(value, "__all__", ()):
            yield heading(3, f"{name}.{inner}", f"{name}.{inner}")
            yield from _named(value, inner)
    else:
        if not callable(value):
            yield f"```python\n{name} = {value!r}\n```"
        yield _comment(module, name)


def _class(name: str, cls: type) -> Iterator[str]:
    fields = getattr(cls, "_fields", None)
    if issubclass(cls, enum.Enum):
        members = "\n".join(f"{member.name} = {member.value!r}" for member in cls)
        yield f"```python\n{members}\n```"
    elif issubclass(cls, BaseModel) or getattr(cls, "_is_protocol", False):
        pass
    elif fields is not None or "__init__" in vars(cls) or hasattr(cls, "__dataclass_fields__"):
        yield signature(name, cls)
    yield docstring(cls)
    for attribute, raw in vars(cls).items():
        yield from _member(name, attribute, raw)


def _member(owner: str, name: str, raw: Any) -> Iterator[str]:
    """A method or property that has something to say."""
    if (name.startswith("_") and name != "__call__") or not hasattr(raw, "__doc__"):
        return
    if isinstance(raw, property):
        if raw.__doc__:
            yield f"{code(f'{owner}.{name}')}: {prose(inspect.getdoc(raw) or '')}"
        return
    function = raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw
    if inspect.isfunction(function) and function.__doc__:
        yield heading(3, f"{owner}.{name}", f"{owner}.{name}")
        yield signature(name, function, method=not isinstance(raw, staticmethod))
        yield docstring(function)


def _comment(module: ModuleType, name: str) -> str:
    """The string below a constant, in the module that sets it."""
    homes = [module, *(m for m in _homes(module) if name in vars(m))]
    for home in homes:
        body = ast.parse(inspect.getsource(home)).body
        for statement, after in pairwise(body):
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            named = any(isinstance(t, ast.Name) and t.id == name for t in targets)
            if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                return prose(str(after.value.value))
    return ""


def _homes(module: ModuleType) -> list[ModuleType]:
    """The package's modules that are loaded."""
    inside = f"{module.__name__}."
    return [m for n, m in sorted(sys.modules.items()) if n.startswith(inside) and m is not None]
