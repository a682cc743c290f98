"""Make command-line parameters of option models, at run time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from anima_core.config.text import is_list, literals, members
from anima_core.errors import UsageError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_METAVARS: tuple[tuple[type, str], ...] = ((int, "INTEGER"), (float, "NUMBER"), (Path, "PATH"))

CHOICE = "CHOICE"
"""The metavar of a choice between so many words that they stand in the help text."""

LONGEST = 20
"""The longest metavar, in characters; a longer one would narrow every other column."""

NO_TYPE = " "
"""The metavar of a flag: typer would show its Python type for an empty one."""

OFF = "__off"
"""What ends the name of the parameter that switches a boolean off."""


def is_flag(field: FieldInfo) -> bool:
    """Whether an option is on or off, and so takes no value."""
    return members(field.annotation) == (bool,)


def option(
    dest: str, names: Sequence[str], off: str, field: FieldInfo, panel: str
) -> list[inspect.Parameter]:
    """The command-line option of a field; its text is validated by the field's own model.

    A boolean is switched off by a second option, which overrules a run file or a default of on
    and has no line of its own in the help: two columns of long names would be cut short.

    Args:
        dest: the parameter's name.
        names: how it is written.
        off: how a boolean is switched off.
        field: type, default and description.
        panel: the help panel it stands in.
    """
    info: dict[str, Any] = {"help": escape(_help(field, off)), "rich_help_panel": panel}
    if is_flag(field):
        return [
            plain(dest, bool, False, *names, metavar=NO_TYPE, **info),
            plain(f"{dest}{OFF}", bool, False, off, hidden=True),
        ]
    kind: Any = list[str] | None if is_list(field.annotation) else str | None
    return [plain(dest, kind, None, *names, metavar=metavar(field.annotation), **info)]


def argument(dest: str, name: str, field: FieldInfo) -> inspect.Parameter:
    """The positional argument of a field."""
    kind: Any = list[str] | None if is_list(field.annotation) else str | None
    info = typer.Argument(metavar=name, help=escape(_help(field)), show_default=False)
    return parameter(dest, kind, info, None, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def plain(dest: str, kind: Any, default: Any, *names: str, **info: Any) -> inspect.Parameter:
    """An option that belongs to no model."""
    return parameter(dest, kind, typer.Option(*names, show_default=False, **info), default)


def parameter(
    dest: str, kind: Any, info: Any, default: Any, place: Any = inspect.Parameter.KEYWORD_ONLY
) -> inspect.Parameter:
    """A parameter of a command's signature."""
    return inspect.Parameter(dest, place, annotation=Annotated[kind, info], default=default)


def with_signature(
    function: Callable[..., Any], parameters: list[inspect.Parameter]
) -> Callable[..., Any]:
    """Give a function that takes keyword arguments the signature that typer reads."""
    vars(function)["__signature__"] = inspect.Signature(parameters)
    function.__annotations__ = {p.name: p.annotation for p in parameters}
    return function


def given(values: Mapping[str, Any], dest: str, flag: str) -> Any:
    """The value that the command line gives to a field; None when it gives none.

    Raises:
        UsageError: a boolean is switched on and off.
    """
    value = values[dest]
    if f"{dest}{OFF}" in values:
        off = values[f"{dest}{OFF}"]
        if value and off:
            raise UsageError("is switched on and off at once", where=flag, fix="say it once")
        return False if off else value or None
    return None if value in ([], ()) else value


def metavar(annotation: Any) -> str:
    """What stands for an option's value in the help: its choices, or its kind."""
    shown = _kinds(annotation)
    return CHOICE if len(shown) > LONGEST and literals(annotation) else shown


def _kinds(annotation: Any) -> str:
    words = literals(annotation)
    kinds = [
        next((word for kind, word in _METAVARS if member is kind), "TEXT")
        for member in members(annotation)
        if not words or isinstance(member, type)
    ]
    return "|".join(dict.fromkeys([*map(str, words), *kinds]))


def _help(field: FieldInfo, off: str = "") -> str:
    """The description, with long choices, and with the default unless the description says it."""
    text = (field.description or "").strip()
    if metavar(field.annotation) == CHOICE:
        text += f" One of {_kinds(field.annotation).replace('|', ', ')}."
    default = None if field.is_required() else field.get_default()
    if default is True and is_flag(field):
        return f"{text} [default: on; off with {off}]"
    if "[default:" in text or default is False or default is None or default == ():
        return text
    return f"{text} [default: {_shown(default)}]"


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
