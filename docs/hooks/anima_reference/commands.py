"""The page of the commands, as typer has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from anima_core.cli.app import RUN_COMMANDS, build_app
from anima_core.cli.first_look import first_look
from anima_core.cli.parameters import OFF
from anima_core.cli.train import STRATEGIES_PANEL, CommandLine
from anima_reference.markdown import code, heading, prose, table

_HEAD = """# Commands

Every command with its arguments and options. [Strategies](strategies.md) has the options of each
strategy, [exit codes](exit-codes.md) what a command returns. `--help` says the same at the
command line.
"""
_STRATEGIES = """**Strategies**

A flag for every strategy that is installed (`--NAME`, or `--DIST:NAME` where two distributions
offer one name), and the options of those that are selected: see [strategies](strategies.md)."""


def command(path: tuple[str, ...]) -> Any:
    """A command's parser, e.g. of ``("plugins", "list")``."""
    first = path[0] if path else ""
    line = CommandLine(first_look([]), argv=("anima",)) if first in RUN_COMMANDS else None
    found: Any = typer.main.get_command(build_app(first, line))
    for word in path:
        found = found.commands[word]
    return found


def paths(path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that does something, e.g. ``("train",)`` and ``("plugins", "list")``."""
    inner = getattr(command(path), "commands", None)
    if inner is None:
        yield path
        return
    for word in inner:
        yield from paths((*path, word))


def commands_page() -> str:
    """Every command with its arguments and options."""
    parts = [_HEAD, heading(2, "anima", "anima"), _panel(command(()).params, {})]
    for path in paths():
        parts += [heading(2, " ".join(("anima", *path)), "-".join(path)), *_command(path)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _command(path: tuple[str, ...]) -> Iterator[str]:
    found = command(path)
    yield prose(found.help or "")
    arguments = [p for p in found.params if p.param_type_name == "argument"]
    words = " ".join(_argument(p) for p in arguments)
    yield f"```text\nanima {' '.join(path)} {words} [OPTIONS]\n```".replace("  ", " ")
    off = {p.name.removesuffix(OFF): p.opts for p in found.params if p.name.endswith(OFF)}
    for panel in dict.fromkeys(getattr(p, "rich_help_panel", None) for p in found.params):
        shown = [p for p in found.params if getattr(p, "rich_help_panel", None) == panel]
        if panel == STRATEGIES_PANEL:
            yield _STRATEGIES
            continue
        if panel:
            yield f"**{panel}**"
        yield _panel(shown, off)


def _argument(parameter: Any) -> str:
    bare = parameter.metavar.strip("[]")
    many = "…" if parameter.nargs == -1 else ""
    return f"{bare}{many}" if parameter.required else f"[{bare}{many}]"


def _panel(parameters: list[Any], off: Mapping[str, list[str]]) -> str:
    """A table of arguments and options.

    Args:
        parameters: typer's.
        off: how booleans are switched off, by the name of their parameter.
    """
    rows = [
        [_names(p, off.get(p.name, [])), _kind(p), prose(_text(p))]
        for p in parameters
        if not getattr(p, "hidden", False)
    ]
    return table(["option", "value", "description"], rows) if rows else ""


def _names(parameter: Any, off: list[str]) -> str:
    if parameter.param_type_name == "argument":
        return code(parameter.metavar)
    return ", ".join(code(word) for word in [*parameter.opts, *parameter.secondary_opts, *off])


def _kind(parameter: Any) -> str:
    if parameter.param_type_name == "argument" or getattr(parameter, "is_flag", False):
        return ""
    return code(parameter.metavar or "TEXT") + (", may be repeated" if parameter.multiple else "")


def _text(parameter: Any) -> str:
    """The help text, with what is required and the default where the text does not say it."""
    text = (parameter.help or "").replace("\\[", "[").strip()
    default = parameter.default
    if parameter.param_type_name == "argument":
        return text
    if parameter.required:
        return f"{text} [required]"
    if default in (None, False, (), "") or callable(default) or "[default" in text:
        return text
    return f"{text} [default: {default}]"
