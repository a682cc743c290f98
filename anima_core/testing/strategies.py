"""Checks of a strategy class: what the registry relies on, before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from anima_core.hookspecs import HOOK_API, HOOKS, PROJECT, SLOTS, AnimaSpecs


def check_strategy(cls: type) -> None:
    """A strategy class is sound: attributes, options, and hooks that match their specifications.

    Everything that is wrong is reported together.

    Args:
        cls: what the entry point resolves to.

    Raises:
        AssertionError: one line for each thing that is wrong.
    """
    found = [*_attributes(cls), *_options(cls), *_hooks(cls), *_rates(cls)]
    assert not found, f"{cls.__module__}.{cls.__qualname__}:\n  " + "\n  ".join(found)


def _attributes(cls: type) -> Iterator[str]:
    api = getattr(cls, "api", None)
    if type(api) is not int or not 1 <= api <= HOOK_API:
        yield f"api is {api!r}; the hook API has version {HOOK_API}"
    summary = getattr(cls, "summary", None)
    if not isinstance(summary, str) or not summary.strip() or "\n" in summary:
        yield f"summary is {summary!r}, not one line of text"
    for name in ("slots", "requires", "conflicts"):
        value = getattr(cls, name, None)
        if not isinstance(value, tuple) or not all(isinstance(v, str) for v in value):
            yield f"{name} is {value!r}, not a tuple of names"


def _options(cls: type) -> Iterator[str]:
    options = getattr(cls, "Options", None)
    if not isinstance(options, type) or not issubclass(options, BaseModel):
        yield f"Options is {options!r}, not a pydantic model"
        return
    for name, field in options.model_fields.items():
        if not (field.description or "").strip():
            yield f"option {name!r} has no description"
        if name != name.lower() or name.startswith("_"):
            yield f"option {name!r} is not snake_case"
    try:
        options.model_validate({"no_such_option": 1})
    except ValidationError as error:
        kinds = {e["type"] for e in error.errors() if e["loc"] == ("no_such_option",)}
        refused = "extra_forbidden" in kinds
    else:
        refused = False
    if not refused:
        yield "Options accepts unknown keys; derive it from anima_core.Options"
    if any(field.is_required() for field in options.model_fields.values()):
        return
    try:
        cls(options())
    except ValidationError as error:
        yield f"the options' own defaults are refused: {error.errors()[0]['msg']}"
    except TypeError as error:
        yield f"the class cannot be built from its options: {error}"


def _marked(function: Any) -> bool:
    """Whether a function is a hook implementation, as pluggy sees it."""
    return getattr(function, f"{PROJECT}_impl", None) is not None


def _hooks(cls: type) -> Iterator[str]:
    functions = dict(inspect.getmembers(cls, inspect.isroutine))
    marked = {name: f for name, f in functions.items() if _marked(f)}
    for name in functions:
        if name in HOOKS and name not in marked:
            yield f"{name}() is named like a hook but lacks @hookimpl, so it is never called"
    if not marked:
        yield "no hook is implemented"
    for name, function in marked.items():
        if name not in HOOKS:
            yield f"there is no hook {name!r}"
            continue
        yield from _signature(name, function)
    answered = {name for name in marked if name in SLOTS}
    declared = set(getattr(cls, "slots", None) or ())
    for name in sorted(answered - declared):
        yield f"{name}() answers a slot that `slots` does not declare"
    for name in sorted(declared - answered):
        why = "but no hook answers it" if name in SLOTS else "which is no slot"
        yield f"slots declares {name!r}, {why}"


def _signature(name: str, function: Any) -> Iterator[str]:
    offered = [p for p in inspect.signature(getattr(AnimaSpecs, name)).parameters if p != "self"]
    parameters = list(inspect.signature(function).parameters.values())[1:]
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.POSITIONAL_ONLY):
            yield f"{name}(): parameter {parameter.name!r} is not a plain one"
        elif parameter.name not in offered:
            yield f"{name}(): no argument {parameter.name!r} is offered, only {', '.join(offered)}"
        elif parameter.default is not parameter.empty:
            yield f"{name}(): {parameter.name!r} has a default, so it never receives the value"


def _rates(cls: type) -> Iterator[str]:
    slots = getattr(cls, "slots", None) or ()
    for name, slot in (("learning_rate", "loss"), ("learning_rate_scale", "adapt_model")):
        value = getattr(cls, name, None)
        if value is None:
            continue
        if not isinstance(value, int | float) or value <= 0:
            yield f"{name} is {value!r}, not a positive number"
        if slot not in slots:
            yield f"{name} has a meaning on a strategy that answers {slot!r} only"
    for name, slot in (("trains_base", "adapt_model"), ("loads_quantized", "load_model")):
        value = getattr(cls, name, None)
        if value is not None and not isinstance(value, bool):
            yield f"{name} is {value!r}, not a bool"
        if value and slot not in slots:
            yield f"{name} has a meaning on a strategy that answers {slot!r} only"
