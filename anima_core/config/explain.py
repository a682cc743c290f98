"""Turn pydantic's errors into one `UsageError` in the words of the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anima_core.config.text import literals, members
from anima_core.errors import UsageError
from anima_core.registry.names import did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


def explain(
    error: ValidationError,
    model: type[BaseModel],
    flag: Callable[[str], str],
    owner: str,
    places: Mapping[str, str] | None = None,
) -> UsageError:
    """Every fault of some options, the first one's flag as the place.

    Args:
        error: what pydantic raised.
        model: the options' model.
        flag: how a field is written on the command line.
        owner: what to call the options as a whole, for a fault that concerns none alone.
        places: where a field's value came from, when not from the command line.
    """
    by_field: dict[str, list[Mapping[str, Any]]] = {}
    for detail in error.errors(include_url=False):
        field = str(detail["loc"][0]) if detail["loc"] else ""
        by_field.setdefault(field, []).append(dict(detail))
    faults = [
        _fault(field, details, model, flag, owner) if field else (owner, _expected(details), "")
        for field, details in by_field.items()
    ]
    came_from = [(places or {}).get(field) for field in by_field]
    faults = [
        (f"{place}: {where}" if place else where, what, fix)
        for place, (where, what, fix) in zip(came_from, faults, strict=True)
    ]
    (where, what, fix), *others = faults
    for other_where, other_what, other_fix in others:
        what += f"\n{other_where}: {other_what}" + (f"; {other_fix}" if other_fix else "")
    return UsageError(what, where=where, fix=fix)


def _fault(
    name: str,
    details: Sequence[Mapping[str, Any]],
    model: type[BaseModel],
    flag: Callable[[str], str],
    owner: str,
) -> tuple[str, str, str]:
    """Where, what, and what to do."""
    where, kind = flag(name), details[0]["type"]
    if kind == "extra_forbidden":
        known = [flag(field) for field in model.model_fields]
        fix = did_you_mean(where, known) or (
            f"it has {', '.join(known)}" if known else f"{owner} has no options"
        )
        return where, "no such option", fix
    if kind == "missing":
        return where, "is missing", model.model_fields[name].description or ""
    shown = _shown(details[0]["input"])
    return where, f"{shown}is not valid: {_choices(model, name) or _expected(details)}", ""


def _shown(value: Any) -> str:
    return "" if isinstance(value, dict) else f"{value!r} "


def _expected(details: Sequence[Mapping[str, Any]]) -> str:
    """What would have been accepted; a union reports one fault for each of its members."""
    messages = []
    for detail in details:
        message = str(detail["msg"]).removeprefix("Value error, ")
        message = message.replace("Input should be ", "expected ", 1).split(", unable to parse")[0]
        messages.append(message[:1].lower() + message[1:])
    return " or ".join(dict.fromkeys(messages))


def _choices(model: type[BaseModel], name: str) -> str:
    """The words that a field accepts where it accepts nothing else."""
    annotation = model.model_fields[name].annotation
    words = literals(annotation)
    if not words or len(members(annotation)) > 1:
        return ""
    return "expected " + " or ".join(str(word) for word in words)
