"""Anima adapts a language model to your data; every technique is a plugin.

Everything a plugin needs is exported here. Importing this package imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anima_core.batch import Batch, EncodedExample, Role, Segment, TokenSegment
from anima_core.context import RunContext
from anima_core.contracts import (
    Adapter,
    Attention,
    Head,
    Loss,
    LossOutput,
    MemoryShape,
    Record,
    TokenLogps,
)
from anima_core.errors import (
    AnimaError,
    DataError,
    DivergedError,
    SetupError,
    UsageError,
)
from anima_core.hookspecs import HOOK_API, hookimpl
from anima_core.problems import Finding, Problem
from anima_core.strategy import NoOptions, Options, Strategy
from anima_core.version import __version__

if TYPE_CHECKING:
    from anima_core.api import adapt as adapt

__all__ = [
    "HOOK_API",
    "Adapter",
    "AnimaError",
    "Attention",
    "Batch",
    "DataError",
    "DivergedError",
    "EncodedExample",
    "Finding",
    "Head",
    "Loss",
    "LossOutput",
    "MemoryShape",
    "NoOptions",
    "Options",
    "Problem",
    "Record",
    "Role",
    "RunContext",
    "Segment",
    "SetupError",
    "Strategy",
    "TokenLogps",
    "TokenSegment",
    "UsageError",
    "__version__",
    "adapt",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name == "adapt":
        from anima_core.api import adapt

        return adapt
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
