"""A run directory as MODEL brings the strategies that its adapter was made with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anima_core.model.resolve import ModelSource
from anima_core.registry.load import implemented, load_strategy
from anima_core.registry.names import split_reference
from anima_core.registry.offers import find_offer, offers
from anima_core.runs.request import RunRequest

MODEL_SLOTS = frozenset({"load_tokenizer", "load_model", "adapt_model"})


def inherited_strategies(
    source: ModelSource, request: RunRequest
) -> Mapping[str, Mapping[str, Any]]:
    """The strategies of a request, after those of the run it goes on from.

    Of the run's strategies those take part that made its model what it is: they load it, adapt
    it or change its config. One that is named again keeps the run's options where none are given
    anew; one whose slot is answered by another named strategy is left out.
    """
    if source.run is None:
        return request.strategies
    made = model_strategies(source.manifest, request.disabled)
    named = {split_reference(reference)[1]: reference for reference in request.strategies}
    taken = _slots(request.strategies, request.disabled)
    wanted: dict[str, Mapping[str, Any]] = {}
    for reference, options in made.items():
        name = split_reference(reference)[1]
        if name in named:
            wanted[named[name]] = {**options, **request.strategies[named[name]]}
        elif not _slots([reference], request.disabled) & taken:
            wanted[reference] = options
    return {**wanted, **{n: o for n, o in request.strategies.items() if n not in wanted}}


def model_strategies(
    manifest: Mapping[str, Any], disabled: Iterable[str] = ()
) -> dict[str, Mapping[str, Any]]:
    """Of a run's strategies, those that its model cannot be rebuilt without, with options.

    The keys are ``dist:name``: a distribution that has since begun to offer the same name did not
    make this model. What had a part in training alone (a loss, an optimizer) need not be there.

    Raises:
        UsageError: its distribution is not installed, or does not offer the strategy any more.
    """
    offered = offers(disabled)
    made = {
        f"{entry['distribution']}:{name}": entry["options"]
        for name, entry in manifest["strategies"].items()
        if not entry.get("default")
        and (MODEL_SLOTS & set(entry["slots"]) or entry.get("configures_model"))
    }
    for reference in made:
        find_offer(reference, offered)
    return made


def _slots(references: Iterable[str], disabled: Iterable[str]) -> frozenset[str]:
    offered = offers(disabled)
    slots: set[str] = set()
    for reference in references:
        slots |= implemented(load_strategy(find_offer(reference, offered))) & MODEL_SLOTS
    return frozenset(slots)
