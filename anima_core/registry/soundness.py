"""What the registry relies on in a strategy's class, looked at before anything is built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from anima_core.registry.names import did_you_mean
from anima_core.strategy import GIVES
from anima_core.version import __version__

MARK = "anima_impl"
"""The attribute by which pluggy's marker marks a method as a hook."""

Method = tuple[str, Callable[..., Any], Sequence[inspect.Parameter], dict[str, Any] | None]


def check(cls: Any) -> Iterator[str]:
    """Everything that is wrong with a strategy's class, one sentence each.

    Nothing when it is fit. A class for a later hook API is judged by that alone: what its hooks
    are to look like is for a later core to say.

    Args:
        cls: what the entry point resolves to.
    """
    if not inspect.isclass(cls):
        yield f"its entry point is not a class but {cls!r}"
        return
    yield from _check_api(cls)
    if speaks_later_api(cls):
        return
    yield from _check_words(cls)
    yield from _check_options(cls)
    yield from _check_methods(cls)
    yield from _check_slots(cls)
    yield from _check_extras(cls)


def implemented(cls: type) -> set[str]:
    """Names of the hooks that a class implements."""
    from anima_core.hookspecs import HOOKS

    return {name for name, _, _, opts in _methods(cls) if opts is not None and name in HOOKS}


def speaks_later_api(cls: Any) -> bool:
    """Whether a class says that it was written for a later hook API than this core's."""
    from anima_core.hookspecs import HOOK_API

    api = getattr(cls, "api", None)
    return type(api) is int and api > HOOK_API


def _check_api(cls: type) -> Iterator[str]:
    from anima_core.hookspecs import HOOK_API

    api = getattr(cls, "api", None)
    if type(api) is not int or not 1 <= api <= HOOK_API:
        yield f"it is built for hook API {api!r}; this Anima {__version__} speaks {HOOK_API}"


def _check_words(cls: type) -> Iterator[str]:
    summary = getattr(cls, "summary", None)
    if not isinstance(summary, str) or not summary.strip() or "\n" in summary:
        yield f"its `summary` is not a sentence on one line but {summary!r}"
    for attribute in ("slots", "requires", "conflicts"):
        value = getattr(cls, attribute, None)
        if not _names(value):
            yield f"its `{attribute}` is not a tuple of names but {value!r}"


def _names(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(word, str) for word in value)


def _check_options(cls: type) -> Iterator[str]:
    from pydantic import BaseModel
    from pydantic.errors import PydanticUserError

    options = getattr(cls, "Options", None)
    if not (inspect.isclass(options) and issubclass(options, BaseModel)):
        yield f"its `Options` is not a pydantic model but {options!r}"
        return
    if options.model_config.get("extra") != "forbid":
        yield "its `Options` does not refuse unknown keys: derive it from anima_core.Options"
    for name, field in options.model_fields.items():
        if not (field.description or "").strip():
            yield f"its option `{name}` has no description"
        if name != name.lower() or name.startswith("_"):
            yield f"its option `{name}` is not in snake_case"
    try:
        options.model_rebuild()  # builds what was deferred; nothing where it is built
    except (PydanticUserError, NameError) as error:
        yield f"its `Options` cannot be built: {error}"
    else:
        yield from _check_defaults(options)


def _check_defaults(options: Any) -> Iterator[str]:
    """The defaults must stand the validation that is asked of a user's values."""
    from pydantic import ValidationError

    try:
        options.model_validate({})
    except ValidationError as error:
        for found in error.errors():
            said = f"{found['msg']} (it is {found['input']!r})"
            if found["type"] == "missing":
                continue
            if found["loc"]:
                yield f"its option `{found['loc'][0]}` has a default that is not valid: {said}"
            else:
                yield f"its options' defaults exclude one another: {found['msg']}"
    except Exception as error:  # noqa: BLE001 - a validator's own failure is a fault of the class
        yield f"its options cannot be built from their defaults: {type(error).__name__}: {error}"


def _check_slots(cls: type) -> Iterator[str]:
    from anima_core.hookspecs import SLOTS

    slots = getattr(cls, "slots", ())
    declared = set(slots) if _names(slots) else set()
    answered = implemented(cls) & set(SLOTS)
    for name in sorted(declared - set(SLOTS)):
        hint = did_you_mean(name, SLOTS)
        yield f"it declares `{name}`, which is no slot" + (f"; {hint}" if hint else "")
    for name in sorted((declared & set(SLOTS)) - answered):
        yield f"it declares the slot `{name}` but has no hookimpl of that name"
    for name in sorted(answered - declared):
        yield f"it implements the slot `{name}` but does not declare it in `slots`"


def _check_methods(cls: type) -> Iterator[str]:
    from anima_core.hookspecs import HOOKS, AnimaSpecs

    for name, method, parameters, opts in _methods(cls):
        if opts is None:
            if name in HOOKS:
                yield f"its method `{name}` is named like a hook but not marked with @hookimpl"
        elif name not in HOOKS:
            hint = did_you_mean(name, HOOKS)
            yield f"there is no hook `{name}`" + (f"; {hint}" if hint else "")
        else:
            used = sorted(key for key, value in opts.items() if value)
            if used:
                yield f"its hookimpl `{name}` sets {', '.join(used)}, which is not used here"
            if inspect.iscoroutinefunction(method):
                yield f"its hookimpl `{name}` is async; hooks are called, not awaited"
            yield from _check_parameters(name, parameters, getattr(AnimaSpecs, name))


def _check_parameters(
    name: str, parameters: Sequence[inspect.Parameter], spec: Callable[..., Any]
) -> Iterator[str]:
    wanted = list(inspect.signature(spec).parameters)[1:]
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.POSITIONAL_ONLY):
            yield f"its hookimpl `{name}` takes {parameter}; name the parameters it wants"
        elif parameter.name not in wanted:
            takes = ", ".join(wanted) or "no parameters"
            yield f"its hookimpl `{name}` has a parameter `{parameter.name}`; the hook has {takes}"
        elif parameter.default is not parameter.empty:
            yield (
                f"the parameter `{parameter.name}` of its hookimpl `{name}` has a default, "
                "and would never receive its value"
            )


RATES = {"learning_rate": "loss", "learning_rate_scale": "adapt_model"}
"""Numbers of a class that make the learning rate, and the slot whose strategies have them."""
_SWITCHES = {"trains_base": "adapt_model", "loads_quantized": "load_model"}


def _check_extras(cls: type) -> Iterator[str]:
    """The optional attributes: of the right type, and where they mean something."""
    for name in RATES:
        value = getattr(cls, name, None)
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
        if value is not None and not good:
            yield f"its `{name}` is not a positive number but {value!r}"
    for name in _SWITCHES:
        value = getattr(cls, name, None)
        if value is not None and not isinstance(value, bool):
            yield f"its `{name}` is not a bool but {value!r}"
    gives = getattr(cls, "gives", None)
    if gives is not None and not (_names(gives) and gives and set(gives) <= set(GIVES)):
        yield f"its `gives` is not a tuple of {' and '.join(GIVES)} but {gives!r}"
    hardware = getattr(cls, "hardware", "")
    if not isinstance(hardware, str) or "\n" in hardware:
        yield f"its `hardware` is not one line of text but {hardware!r}"
    slots = getattr(cls, "slots", ())
    for name, slot in {**RATES, **_SWITCHES, "gives": "token_logps"}.items():
        if getattr(cls, name, None) and slot not in (slots if _names(slots) else ()):
            yield f"its `{name}` means something on a strategy that answers `{slot}` only"


def _methods(cls: type) -> Iterator[Method]:
    """Public methods in the order of their definition.

    Each with the parameters that it is called with, and pluggy's mark or None.
    """
    seen: set[str] = set()
    for base in cls.__mro__:
        for name, raw in vars(base).items():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            method = raw.__func__ if isinstance(raw, (staticmethod, classmethod)) else raw
            if inspect.isfunction(method):
                parameters = list(inspect.signature(method).parameters.values())
                bound = parameters if isinstance(raw, staticmethod) else parameters[1:]
                yield name, method, bound, getattr(method, MARK, None)
