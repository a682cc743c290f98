"""`anima plugins show`: everything about one strategy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anima_core.cli.parameters import is_flag, metavar
from anima_core.cli.plugins.listing import plugin_line, trying
from anima_core.cli.words import off_flag
from anima_core.config.text import literals
from anima_core.errors import AnimaError, UsageError
from anima_core.registry.catalog import Entry, catalog
from anima_core.registry.known import not_installed
from anima_core.registry.load import load_strategy
from anima_core.registry.names import did_you_mean, kebab, split_reference
from anima_core.registry.offers import Offer, every_offer
from anima_core.registry.options import option_flag
from anima_core.registry.soundness import RATES

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


FACTS = ("hook API", "slots", "hooks", "requires", "conflicts", "rate", "hardware", "notes")
"""What is told before the options, in this order."""


def show_plugin(name: str, disabled: Sequence[str], *, machine: bool) -> int:
    """Print what is known of a strategy on standard output; 0 even when it is broken.

    Args:
        name: its name in either case, or ``dist:name`` where two distributions offer it.
        disabled: distributions to leave out.
        machine: whether to print JSON.

    Raises:
        UsageError: nobody offers it, or two distributions do.
    """
    offer = _meant(name)
    (entry,) = catalog(disabled, only=lambda other: other == offer, tell=trying)
    shown = described(entry)
    if machine:
        sys.stdout.write(json.dumps(shown, ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(shown)) + "\n")
    return 0


def described(entry: Entry) -> dict[str, Any]:
    """An entry with everything that its class says, as plain data."""
    line = plugin_line(entry)
    shown = {
        **{name: getattr(line, name) for name in ("strategy", "distribution", "version")},
        **{name: getattr(line, name) for name in ("state", "reason", "summary")},
        "api": None,
        "slots": list(line.slots),
        "hooks": list(line.hooks),
        "requires": [],
        "conflicts": [],
        "hardware": "",
        **dict.fromkeys(RATES),
        "options": [],
        "notes": list(entry.report.notes),
        "example": "",
    }
    if entry.state == "blocked" or entry.report.broken:
        return shown
    try:
        cls: Any = load_strategy(entry.offer)
    except AnimaError as error:  # it did load where it was tried
        return {**shown, "state": "broken", "reason": f"{error.what}; {error.fix}"}
    options = [_option(entry.offer.name, n, f) for n, f in cls.Options.model_fields.items()]
    flag = f"--{entry.offer.reference if entry.state == 'shadowed' else entry.offer.name}"
    needed = [option for option in options if option["required"]]
    given = [f"{o['flag']} {o['choices'][0] if o['choices'] else o['type']}" for o in needed]
    return {
        **shown,
        "api": cls.api,
        "requires": list(cls.requires),
        "conflicts": list(cls.conflicts),
        "hardware": getattr(cls, "hardware", ""),
        **{n: getattr(cls, n, None) if slot in cls.slots else None for n, slot in RATES.items()},
        "options": options,
        "example": " ".join(["anima train MODEL DATA", *_companions(cls), flag, *given]),
    }


def _companions(cls: Any) -> list[str]:
    return [f"--{name}" for name in cls.requires]


def _meant(name: str) -> Offer:
    """The offer that a name means, fit to be a flag or not."""
    distribution, word = split_reference(name)
    every = every_offer()
    named = [o for o in every if word == kebab(o.name)]
    found = [o for o in named if distribution in ("", o.distribution)]
    if len(found) == 1:
        return found[0]
    if found:
        theirs = ", ".join(f"{o.distribution} {o.version}" for o in found)
        which = " or ".join(o.reference for o in found)
        raise UsageError(f"{theirs} offer it", where=name, fix=f"say which one: {which}")
    if named:
        theirs = ", ".join(f"{o.distribution} {o.version}" for o in named)
        raise UsageError(f"{distribution} does not offer {word}; {theirs} does", where=name)
    if error := not_installed(name, name):
        raise error
    hint = did_you_mean(word, {o.name for o in every})
    raise UsageError(
        "no installed distribution offers this strategy",
        where=name,
        fix=hint or "see `anima plugins list`",
    )


def _option(strategy: str, name: str, field: FieldInfo) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    required = field.is_required()
    default = None if required else field.get_default(call_default_factory=True)
    return {
        "name": name,
        "flag": option_flag(strategy, name),
        "off": off_flag(strategy, name) if is_flag(field) else "",
        "type": "" if is_flag(field) else metavar(field.annotation),
        "choices": [str(word) for word in literals(field.annotation)],
        "required": required,
        "default": to_jsonable_python(default, fallback=str),
        "description": (field.description or "").strip(),
    }


def _lines(shown: Mapping[str, Any]) -> Iterator[str]:
    """The same for people. Without rich, which is slow to import."""
    from shutil import get_terminal_size
    from textwrap import wrap

    width = max(40, get_terminal_size().columns)

    def filled(text: str, indent: str, first: str = "") -> Iterator[str]:
        yield from wrap(text, width, initial_indent=first or indent, subsequent_indent=indent)

    yield f"{shown['strategy']}  from {shown['distribution']} {shown['version']}  {shown['state']}"
    yield from filled(shown["reason"], "  ")
    yield from filled(shown["summary"], "  ")
    if shown["api"] is None:
        return
    yield ""
    facts = {"hook API": str(shown["api"]), "hardware": shown["hardware"]}
    for word in ("slots", "hooks", "requires", "conflicts", "notes"):
        facts[word] = ("; " if word == "notes" else ", ").join(shown[word])
    facts["rate"] = _rate(shown)
    for word in FACTS:
        if facts[word]:
            yield from filled(facts[word], " " * 13, f"  {word:<9}  ")
    yield ""
    yield "options:" if shown["options"] else "It has no options."
    for option in shown["options"]:
        yield f"  {_written(option)}"
        yield from filled(option["description"], " " * 6)
    yield ""
    yield f"example: {shown['example']}"


def _rate(shown: Mapping[str, Any]) -> str:
    """The learning rate that a strategy brings, or what it makes of the loss's."""
    own, scale = (shown[name] for name in RATES)
    told = [f"peak learning rate {own:g}, times the adapter's factor"] if own is not None else []
    if scale is not None:
        told.append(f"{scale:g} times the loss's own peak learning rate")
    return "; ".join(told)


def _written(option: Mapping[str, Any]) -> str:
    """An option with its type and default."""
    kind = "|".join(option["choices"]) if option["type"] == "CHOICE" else option["type"]
    flag = f"{option['flag']} {kind}".rstrip()
    if option["required"]:
        return f"{flag}  [required]"
    default = option["default"]
    if option["off"]:
        return f"{flag}  [default: {'on; off with ' + option['off'] if default else 'off'}]"
    if default is None or default == []:
        return flag
    text = " ".join(map(str, default)) if isinstance(default, list) else str(default)
    return f"{flag}  [default: {text}]"
