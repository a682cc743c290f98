"""Put what was asked for together: the command line over a run file, and defaults under both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anima_core.config.core import CoreOptions
from anima_core.config.explain import explain
from anima_core.config.text import from_text
from anima_core.errors import UsageError
from anima_core.registry.names import kebab, split_reference
from anima_core.runs.request import RunRequest

_POSITIONAL = {"model": "MODEL", "data": "DATA"}


def core_flag(name: str) -> str:
    """How a core option is written on the command line: ``--batch-size``, ``MODEL``."""
    return _POSITIONAL.get(name, f"--{kebab(name)}")


def core_options(request: RunRequest) -> CoreOptions:
    """The core's options, resolved: what was asked for, and defaults for the rest.

    Raises:
        UsageError: naming each faulty option, its value and what was expected.
    """
    from pydantic import ValidationError

    given = {name: value for name, value in request.core.items() if value is not None}
    try:
        return CoreOptions.model_validate(from_text(CoreOptions, given))
    except ValidationError as error:
        raise explain(error, CoreOptions, core_flag, "anima train", request.places) from error


def merge(base: RunRequest, over: RunRequest) -> RunRequest:
    """One request over another: the command line over a run file.

    An option of `over` replaces its namesake. A strategy of `over` keeps the options that
    `base` gives to the same strategy and replaces one that answers the same slot. The length
    of the run is one choice: ``epochs`` of `over` also replaces ``steps`` of `base`.

    Raises:
        UsageError: an unknown strategy; or a loss or an adapter is replaced, and the learning
            rate that `base` has for another one would be taken over without a word.
        SetupError: a strategy, needed to know its slots, does not import.
    """
    core = {**base.core, **over.core}
    if over.core.get("epochs") is not None and over.core.get("steps") is None:
        core.pop("steps", None)
    disabled = tuple(dict.fromkeys((*base.disabled, *over.disabled)))
    _refuse_a_rate_for_another_loss(base, over, disabled)
    strategies, notes = _merge_strategies(base.strategies, over.strategies, disabled)
    return RunRequest(
        core=core,
        strategies=strategies,
        argv=over.argv or base.argv,
        disabled=disabled,
        places=_places_left(base, over),
        notes=(*base.notes, *over.notes, *notes),
    )


def _places_left(base: RunRequest, over: RunRequest) -> dict[str, str]:
    """Where the values of `base` stand that `over` does not replace."""
    replaced = {name for name, value in over.core.items() if value is not None} | {
        f"{split_reference(key)[1]}.{option}"
        for key, options in over.strategies.items()
        for option in options
    }
    kept = {key: place for key, place in base.places.items() if key not in replaced}
    return {**kept, **over.places}


Requested = Mapping[str, Mapping[str, Any]]


def _refuse_a_rate_for_another_loss(
    base: RunRequest, over: RunRequest, disabled: Iterable[str]
) -> None:
    """DPO at SFT's learning rate, forty times its own, would ruin a model in silence."""
    rate = base.core.get("learning_rate")
    if rate is None or "learning_rate" in over.core:
        return
    added = [key for key in over.strategies if _same(key, base.strategies) is None]
    changed = [key for key in added if _slots(key, disabled) & {"loss", "adapt_model"}]
    if changed:
        raise UsageError(
            f"the run file's rate of {rate} was for another strategy than --{changed[0]}",
            where="--learning-rate",
            fix=f"Add --learning-rate none for {changed[0]}'s own, or give a rate.",
        )


def _merge_strategies(
    base: Requested, over: Requested, disabled: Iterable[str]
) -> tuple[Requested, list[str]]:
    """The strategies of both, and a sentence for each that was replaced with its options."""
    if not base or not over:
        return {**base, **over}, []
    keys = {key: _same(key, base) for key in over}
    added = [key for key, same in keys.items() if same is None]
    replaced = _replaced(base, added, disabled) - {s for s in keys.values() if s is not None}
    merged = {name: dict(options) for name, options in base.items() if name not in replaced}
    for key, same in keys.items():
        merged.setdefault(same or key, {}).update(over[key])
    notes = [
        f"{name} of the run file, with {_listed(base[name])}, gives way to --{key}"
        for name in base
        if name in replaced and base[name]
        for key in added
        if name in _replaced(base, [key], disabled)
    ]
    return merged, notes


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{kebab(name)} {value}" for name, value in options.items())


def _same(key: str, base: Requested) -> str | None:
    """The key under which `base` names the same strategy; a bare name means any distribution."""
    distribution, name = split_reference(key)
    for other in base:
        other_distribution, other_name = split_reference(other)
        if other_name == name and distribution in ("", other_distribution):
            return other
    return None


def _replaced(base: Requested, added: Iterable[str], disabled: Iterable[str]) -> set[str]:
    """The strategies of `base` whose name or slot one that was added takes."""
    added = list(added)
    if not added:
        return set()
    taken = {slot for key in added for slot in _slots(key, disabled)}
    names = {split_reference(key)[1] for key in added}
    return {
        key for key in base if split_reference(key)[1] in names or _slots(key, disabled) & taken
    }


def _slots(reference: str, disabled: Iterable[str]) -> set[str]:
    from anima_core.registry.load import load_strategy
    from anima_core.registry.offers import find_offer, offers

    return set(load_strategy(find_offer(reference, offers(disabled))).slots)
