"""Import one offered strategy, and check its class at the door."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from anima_core.errors import AnimaError, SetupError
from anima_core.registry.names import CORE_DISTRIBUTION, did_you_mean
from anima_core.registry.offers import Offer, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from anima_core.strategy import Strategy

MARK = "anima_impl"
"""The attribute by which pluggy's marker marks a method as a hook."""


def load_strategy(offer: Offer) -> type[Strategy]:
    """Import the class behind an offer and check that it is what the core can use.

    Raises:
        SetupError: naming strategy, distribution and version: it does not import, is built for
            another hook API, or breaks one of the rules that `check` lists.
    """
    reason = refusal(offer)
    if reason:
        raise broken(offer, reason)
    try:
        loaded: Any = offer.entry_point.load()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except AnimaError as error:
        raise broken(offer, f"does not import: {error.what}", fix=error.fix) from error
    except BaseException as error:
        what = f"does not import: {type(error).__name__}: {error}"
        raise broken(offer, what, fix=_mend(offer)) from error
    problem = next(check(loaded), "")
    if problem:
        raise broken(offer, problem)
    cls: type[Strategy] = loaded
    return cls


def broken(offer: Offer, what: str, fix: str = "") -> SetupError:
    """The error that names a strategy with its distribution and version."""
    return SetupError(what, where=str(offer), fix=fix)


def _mend(offer: Offer) -> str:
    again = f"reinstall {offer.distribution}"
    if offer.distribution == CORE_DISTRIBUTION:
        return again
    return f"{again}, or leave it out with --no-plugin {offer.distribution}"


def check(cls: Any) -> Iterator[str]:
    """Everything that is wrong with a strategy class, one sentence each; nothing when it is fit."""
    if not inspect.isclass(cls):
        yield f"its entry point is not a class but {cls!r}"
        return
    from anima_core.hookspecs import HOOK_API

    api = getattr(cls, "api", None)
    if api != HOOK_API:
        yield f"it is built for hook API {api!r}; this version of Anima has hook API {HOOK_API}"
        return
    yield from _check_words(cls)
    yield from _check_options(cls)
    yield from _check_methods(cls)
    yield from _check_slots(cls)


def implemented(cls: type) -> set[str]:
    """Names of the hooks that a class implements."""
    from anima_core.hookspecs import HOOKS

    return {name for name, _, opts in _methods(cls) if opts is not None and name in HOOKS}


def _check_words(cls: type) -> Iterator[str]:
    summary = getattr(cls, "summary", None)
    if not isinstance(summary, str) or not summary.strip():
        yield "its `summary` is not a sentence"
    for attribute in ("slots", "requires", "conflicts"):
        value = getattr(cls, attribute, None)
        if not isinstance(value, tuple) or not all(isinstance(word, str) for word in value):
            yield f"its `{attribute}` is not a tuple of names but {value!r}"


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
        if not field.description:
            yield f"its option `{name}` has no description"
    try:
        options.model_rebuild()  # builds what was deferred; nothing where it is built
    except (PydanticUserError, NameError) as error:
        yield f"its `Options` cannot be built: {error}"


def _check_slots(cls: type) -> Iterator[str]:
    from anima_core.hookspecs import SLOTS

    declared = set(getattr(cls, "slots", ()))
    answered = implemented(cls) & set(SLOTS)
    for name in sorted(declared - answered):
        yield f"it declares the slot `{name}` but has no hookimpl of that name"
    for name in sorted(answered - declared):
        yield f"it implements the slot `{name}` but does not declare it in `slots`"


def _check_methods(cls: type) -> Iterator[str]:
    from anima_core.hookspecs import HOOKS, AnimaSpecs

    for name, method, opts in _methods(cls):
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
            yield from _check_parameters(name, method, getattr(AnimaSpecs, name))


def _check_parameters(
    name: str, method: Callable[..., Any], spec: Callable[..., Any]
) -> Iterator[str]:
    wanted = list(inspect.signature(spec).parameters)[1:]
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            yield f"its hookimpl `{name}` takes {parameter}; name the parameters it wants"
        elif parameter.name not in wanted:
            takes = ", ".join(wanted) or "no parameters"
            yield f"its hookimpl `{name}` has a parameter `{parameter.name}`; the hook has {takes}"
        elif parameter.default is not parameter.empty:
            yield (
                f"the parameter `{parameter.name}` of its hookimpl `{name}` has a default, "
                "and would never receive its value"
            )


def _methods(
    cls: type,
) -> Iterator[tuple[str, Callable[..., Any], dict[str, Any] | None]]:
    """Public methods in the order of their definition, with pluggy's mark or None."""
    seen: set[str] = set()
    for base in cls.__mro__:
        for name, raw in vars(base).items():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            method = raw.__func__ if isinstance(raw, (staticmethod, classmethod)) else raw
            if inspect.isfunction(method):
                yield name, method, getattr(method, MARK, None)
