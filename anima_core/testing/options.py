"""Check of a strategy's name and options, as the command line and run files give them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from anima_core.errors import UsageError
from anima_core.registry.names import is_kebab
from anima_core.registry.offers import offers, reserved_names
from anima_core.registry.options import build_options, option_flag
from anima_core.testing.installed import is_of, offered

if TYPE_CHECKING:
    from anima_core.strategy import Options

_WRONG: tuple[Any, ...] = (
    {"no": {"such": "value"}},
    [["no such value"]],
    "no such value",
    -1.5e300,
)
"""Values of which every type refuses at least one."""


def check_options(cls: Any, name: str, options: Options | None = None) -> None:
    """A strategy's name and options can be given, and what is given wrongly is named.

    1. The name is kebab-case, none of the core's options, and no other installed strategy's.
    2. Each option has a description and a flag of its own, ``--name.option``; typed there, its
       default comes out as it was.
    3. The defaults are valid by the options' own rules.
    4. A value of a wrong type is refused by a `UsageError` that names the flag.

    Args:
        cls: the strategy's class.
        name: its name.
        options: values to type in where an option has no default.

    Raises:
        AssertionError: one line for each thing that is wrong.
    """
    found = [*_name(cls, name)]
    if not found:
        found += [*_described(cls, name), *_defaults(cls, name), *_wrong(cls, name)]
    if not found:
        found += _typed(cls, name, options)
    assert not found, f"--{name}:\n  " + "\n  ".join(found)


def _name(cls: Any, name: str) -> Iterator[str]:
    if not is_kebab(name):
        yield f"the name {name!r} is not lower-case words joined by hyphens"
    if name in reserved_names():
        yield f"the name {name!r} belongs to the core's option --{name}"
    for offer in offers():
        if offer.name == name and not is_of(offer, cls):
            yield f"{offer.distribution} {offer.version} offers a strategy of this name too"


def _described(cls: Any, name: str) -> Iterator[str]:
    from anima_core.cli.words import option_flags

    for field, info in cls.Options.model_fields.items():
        flag = option_flag(name, field)
        if not (info.description or "").strip():
            yield f"{flag} has no description"
        if info.alias or info.validation_alias:
            yield f"{flag} has an alias, which no command line knows"
    flags = option_flags(name, cls.Options)
    for flag in sorted({flag for flag in flags if flags.count(flag) > 1}):
        yield f"{flag} is the flag of two options"


def _defaults(cls: Any, name: str) -> Iterator[str]:
    if any(info.is_required() for info in cls.Options.model_fields.values()):
        return
    try:
        build_options(name, cls.Options, {})
    except UsageError as error:
        yield f"the options' own defaults are refused: {error.where}: {error.what}"


def _wrong(cls: Any, name: str) -> Iterator[str]:
    for field in cls.Options.model_fields:
        flag = option_flag(name, field)
        refused = False
        for value in _WRONG:
            try:
                build_options(name, cls.Options, {field: value})
            except UsageError as error:
                refused = refused or flag in str(error)
            except Exception as error:  # noqa: BLE001 - a validator's own failure is what we look for
                yield f"{flag} {value!r} raises {error!r}, where a validator must raise ValueError"
                refused = True
        if not refused:
            yield f"{flag} takes a value of any type; declare the type it wants"


def _typed(cls: Any, name: str, options: Options | None) -> Iterator[str]:
    """Whether each option, typed on a command line, arrives."""
    fields = cls.Options.model_fields
    required = [field for field, info in fields.items() if info.is_required()]
    if options is None and required:
        return  # there is no value to type for them, and the others need them
    built = cls.Options() if options is None else options
    with offered(cls, name) as reference:
        always = [word for f in required for word in _words(reference, f, getattr(built, f))]
        for field in fields:
            value = getattr(built, field)
            if value is None:
                continue
            words = [] if field in required else _words(reference, field, value)
            try:
                got = getattr(_parsed(cls, reference, [*always, *words]), field)
            except (UsageError, TypeError, ValueError, RuntimeError) as error:
                yield f"{option_flag(name, field)} cannot be typed: {error}"
                continue
            if got != value:
                shown = " ".join(words)
                yield f"{option_flag(name, field)}: {shown!r} arrives as {got!r}, not {value!r}"


def _words(reference: str, field: str, value: Any) -> list[str]:
    """An option as it is typed."""
    from anima_core.cli.words import off_flag

    if isinstance(value, bool):
        return [option_flag(reference, field) if value else off_flag(reference, field)]
    many = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
    return [f"{option_flag(reference, field)}={_text(item)}" for item in many]


def _text(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    return json.dumps(value) if isinstance(value, Mapping) else str(value)


def _parsed(cls: Any, reference: str, words: list[str]) -> Options:
    """What the parser of ``anima train`` makes of a strategy's options.

    Raises:
        UsageError: the words are refused.
    """
    import typer

    from anima_core.cli.first_look import first_look
    from anima_core.cli.parameters import with_signature
    from anima_core.cli.train import CommandLine

    look = first_look(["model", "data", f"--{reference}", *words])
    line = CommandLine(look, argv=())
    requests = []

    def run(**values: Any) -> None:
        requests.append(line.request(values))

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(with_signature(run, line.parameters(machine=False)))
    try:
        app([*look.rest], standalone_mode=False)
    except Exception as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(str(error)) from error
    given = requests[0].strategies[reference]
    return build_options(reference.rpartition(":")[2], cls.Options, given)
