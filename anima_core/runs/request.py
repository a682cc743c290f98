"""What a user asked for, before defaults: from the command line, a run file or Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunRequest:
    """A run as asked for.

    Attributes:
        core: the core options that were given, by field name; absent ones take their default.
        strategies: the strategies that were named, in order, with the options given to each.
        argv: the command line, for the manifest.
        disabled: distributions whose strategies are not to be used.
        places: where a run file gives a value, as ``file:line``, by core option
            (``batch_size``) or by strategy and option (``lora.rank``).
        notes: what putting requests together left out, for the plan.
    """

    core: Mapping[str, Any]
    strategies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
