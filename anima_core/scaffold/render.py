"""The files of a new plugin as text, from the templates that lie beside this module."""

from __future__ import annotations

from importlib.resources import files
from string import Template

from anima_core.hookspecs import HOOK_API, HOOKS
from anima_core.scaffold.kinds import SUMMARIES
from anima_core.scaffold.names import Names
from anima_core.version import __version__


def rendered(names: Names, hook: str) -> dict[str, str]:
    """Each file of a plugin, by its path inside the plugin's folder.

    Args:
        names: its names.
        hook: the hook that it begins with; one of `SUMMARIES`.
    """
    words = {
        "name": names.strategy,
        "snake": names.snake,
        "Name": names.cls,
        "package": names.package,
        "distribution": names.distribution,
        "hook": hook,
        "kind": HOOKS[hook].kind,
        "summary": SUMMARIES[hook],
        "api": str(HOOK_API),
        "core": core_range(__version__),
    }
    words["about"] = _text(hook, "about.md", words).strip()
    package, tests = names.package, f"tests/test_{names.snake}"
    return {
        "pyproject.toml": _text("common", "pyproject.toml", words),
        "README.md": _text("common", "README.md", words),
        f"{package}/__init__.py": _text("common", "package.py", words),
        f"{package}/py.typed": "",
        f"{package}/strategy.py": _text(hook, "strategy.py", words),
        f"{package}/{hook}.py": _text(hook, "work.py", words),
        f"{tests}.py": _text(hook, "test.py", words),
        f"{tests}_conformance.py": _text("common", "conformance.py", words),
    }


def core_range(version: str) -> str:
    """The versions of the core that a plugin written for `version` asks for.

    Up to the next that semantic versioning allows to break it: ``>=0.1.0,<0.2``, ``>=1.4.2,<2``.
    """
    major, minor = version.split(".")[:2]
    beyond = f"0.{int(minor) + 1}" if major == "0" else str(int(major) + 1)
    return f">={version},<{beyond}"


def _text(folder: str, name: str, words: dict[str, str]) -> str:
    template = files("anima_core.scaffold") / "templates" / folder / f"{name}.tmpl"
    return Template(template.read_text(encoding="utf-8")).substitute(words)
