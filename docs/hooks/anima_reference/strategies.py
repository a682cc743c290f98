"""The page of the strategies: the core's and the bundled plugins'."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anima_core.cli.parameters import is_flag, metavar
from anima_core.cli.words import off_flag
from anima_core.config.text import literals
from anima_core.hookspecs import HOOKS
from anima_core.registry.load import implemented
from anima_core.registry.options import option_flag
from anima_reference.markdown import code, docstring, heading, prose, table

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[3]

_HEAD = """# Strategies

The strategies of the four distributions. Select one with its flag, and give its options with its
name before them: `--dpo --dpo.beta 0.2`. The core's defaults answer a slot when no other selected
strategy does.
"""
_FACTS = {
    "learning_rate": "Peak learning rate, unless `--learning-rate` says another",
    "learning_rate_scale": "Multiplies the loss's own peak learning rate by",
    "trains_base": "Trains base weights themselves, and so keeps them in float32",
    "loads_quantized": "Loads quantised weights, which cannot be trained themselves",
    "gives": "Gives a loss",
    "hardware": "Hardware",
}


@dataclass(frozen=True)
class Offered:
    """A strategy of this repository."""

    name: str
    distribution: str
    cls: Any


def offered() -> Iterator[Offered]:
    """Every strategy of this repository: the core's first, then a distribution at a time."""
    for path in [ROOT / "pyproject.toml", *sorted((ROOT / "plugins").glob("*/pyproject.toml"))]:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        for name, target in project["entry-points"]["anima.strategies"].items():
            module, _, attribute = target.partition(":")
            yield Offered(name, project["name"], getattr(import_module(module), attribute))


def strategies_page() -> str:
    """Every strategy with its summary, slots, hooks, what it needs or excludes, and its options."""
    found = list(offered())
    rows = [
        [f"[`{s.name}`](#{s.name})", _slots(s), s.distribution, prose(s.cls.summary)] for s in found
    ]
    parts = [_HEAD, table(["strategy", "answers", "distribution", "summary"], rows)]
    for strategy in found:
        parts += [heading(2, strategy.name, strategy.name), *_section(strategy)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(strategy: Offered) -> Iterator[str]:
    cls = strategy.cls
    yield f"{prose(cls.summary)}."
    yield docstring(cls)
    facts = [f"- From `{strategy.distribution}`; flag `--{strategy.name}`."]
    facts.append(f"- Answers: {_slots(strategy) or 'no slot'}.")
    hooks = [name for name in HOOKS if name in implemented(cls)]
    facts.append(f"- Hooks: {', '.join(f'[`{name}`](hooks.md#{name})' for name in hooks)}.")
    facts.append(f"- Requires: {_words(cls.requires)}. Conflicts with: {_words(cls.conflicts)}.")
    facts += [
        f"- {text}: {_fact(getattr(cls, name))}."
        for name, text in _FACTS.items()
        if getattr(cls, name, None)
    ]
    yield "\n".join(facts)
    fields = cls.Options.model_fields
    if not fields:
        yield "It has no options."
        return
    rows = [_row(strategy.name, name, field) for name, field in fields.items()]
    yield table(["option", "type", "default", "description"], rows)


def _slots(strategy: Offered) -> str:
    return ", ".join(f"[`{slot}`](hooks.md#{slot})" for slot in strategy.cls.slots)


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"


def _fact(value: object) -> str:
    if value is True:
        return "yes"
    if isinstance(value, tuple | list):
        return ", ".join(f"`{word}`" for word in value)
    return prose(value) if isinstance(value, str) else f"`{value}`"


def _row(strategy: str, name: str, field: FieldInfo) -> list[str]:
    flag = code(option_flag(strategy, name))
    if is_flag(field):
        flag += f", {code(off_flag(strategy, name))}"
    return [flag, _type(field), _default(field), prose(field.description or "")]


def _type(field: FieldInfo) -> str:
    words = literals(field.annotation)
    kind = "on or off" if is_flag(field) else metavar(field.annotation)
    if words and kind == "CHOICE":
        kind = "|".join(map(str, words))
    bounds = [b for b in map(_bound, field.metadata) if b]
    return ", ".join([code(kind) if not is_flag(field) else kind, *bounds])


def _bound(metadata: Any) -> str:
    signs = {"gt": "&gt;", "ge": "≥", "lt": "&lt;", "le": "≤"}
    found = [
        f"{sign} {getattr(metadata, key)}" for key, sign in signs.items() if hasattr(metadata, key)
    ]
    return ", ".join(found)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if is_flag(field):
        return "on" if value else "off"
    if value is None or value == ():
        return "none"
    return code(" ".join(map(str, value)) if isinstance(value, tuple | list) else str(value))
