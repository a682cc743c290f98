"""The contracts in ``.importlinter`` cover the whole core."""

from __future__ import annotations

import configparser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = {"anima_core.testing", "anima_core.attention.segments"}


def forbidden_to_plugins() -> set[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    contract = config["importlinter:contract:plugins-use-public-names"]
    return set(contract["forbidden_modules"].split())


def test_every_module_of_the_core_is_public_or_forbidden_to_plugins() -> None:
    forbidden = forbidden_to_plugins()
    uncovered = []
    for path in (ROOT / "anima_core").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        parents = {name, *(name[:i] for i, c in enumerate(name) if c == ".")}
        if path.name != "__init__.py" and not parents & (forbidden | PUBLIC):
            uncovered.append(name)
    assert sorted(uncovered) == []


def test_the_public_modules_are_not_forbidden() -> None:
    parents = {name.rsplit(".", 1)[0] for name in PUBLIC} - {"anima_core"}
    assert not (PUBLIC | parents) & forbidden_to_plugins()
