"""What a request chooses: options, a model and strategies. The start of a plan and of an audit."""

from __future__ import annotations

from typing import NamedTuple

from anima_core.config.core import CoreOptions
from anima_core.config.requests import core_options
from anima_core.model.resolve import ModelSource, resolve_model
from anima_core.registry.selection import Selection, select
from anima_core.runs.inherit import inherited_strategies
from anima_core.runs.request import RunRequest


class Chosen(NamedTuple):
    """What a request chooses."""

    config: CoreOptions
    source: ModelSource
    selection: Selection


def chosen(request: RunRequest) -> Chosen:
    """Resolve a request.

    Raises:
        UsageError: an unknown option or strategy, two strategies for one slot, no such model.
        SetupError: a selected plugin does not import.
    """
    config = core_options(request)
    source = resolve_model(config.model)
    strategies = inherited_strategies(source, request)
    return Chosen(config, source, select(strategies, request.disabled, request.places))
