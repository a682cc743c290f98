"""A strategy built as the core builds it, and its hooks called as the core calls them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast
from unittest import SkipTest

from anima_core.registry.answers import check_answer
from anima_core.registry.load import implemented

if TYPE_CHECKING:
    from anima_core.context import RunContext
    from anima_core.problems import Problem
    from anima_core.strategy import Options


def missing_options(cls: Any, options: Options | None) -> str:
    """Why a strategy cannot be built without being told more; empty when it can.

    Args:
        cls: its class.
        options: what it is to be built with; its defaults when None.
    """
    fields = getattr(getattr(cls, "Options", None), "model_fields", {})
    needed = [name for name, field in fields.items() if field.is_required()]
    if options is not None or not needed:
        return ""
    named = ", ".join(f"`{name}`" for name in needed)
    return f"it cannot be built from defaults: {named} must be given (checks_for(..., options=...))"


def build(cls: Any, options: Options | None = None) -> Any:
    """The strategy, built with its options; its defaults when None.

    Raises:
        unittest.SkipTest: an option has no default.
    """
    reason = missing_options(cls, options)
    if reason:
        raise SkipTest(reason)
    return cls(cls.Options() if options is None else options)


def call(hook: Callable[..., Any], **arguments: Any) -> Any:
    """Call a hook with those of the arguments that it takes, as pluggy does.

    Args:
        hook: a bound hook method, or any function with the hook's parameter names.
        arguments: everything that the hook is offered.
    """
    taken = inspect.signature(hook).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return hook(**arguments)
    return hook(**{name: value for name, value in arguments.items() if name in taken})


def refuse_if_it_does(strategy: Any, run: RunContext) -> None:
    """Skip what a strategy refuses by itself before a run: a machine or a model not for it.

    Args:
        strategy: an instance.
        run: what it would be asked to do.

    Raises:
        unittest.SkipTest: its `validate` finds an error.
    """
    if "validate" in implemented(type(strategy)):
        refuse(call(strategy.validate, run=run))


def refuse(problems: object) -> None:
    """Skip what the answer of a `validate` hook refuses.

    Raises:
        AssertionError: it is no list of problems.
        unittest.SkipTest: there is an error among them.
    """
    wrong = check_answer("validate", problems)
    assert not wrong, f"its hook `validate` {wrong}"
    errors = [p for p in cast("Sequence[Problem]", problems) if p.level == "error"]
    if errors:
        raise SkipTest(f"its `validate` refuses this: {errors[0].where}: {errors[0].what}")
