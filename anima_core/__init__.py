"""Anima adapts a language model to your data; every technique is a plugin.

Everything a plugin needs is exported here. A name's module is imported when the name is first
used, so importing this package imports nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anima_core.version import __version__

if TYPE_CHECKING:
    from anima_core.api import adapt
    from anima_core.attention.sdpa import segment_sdpa
    from anima_core.attention.segments import SegmentAttend, register_segment_attention
    from anima_core.batch import Batch, EncodedExample, Role, Segment, TokenSegment
    from anima_core.context import RunContext
    from anima_core.contracts import (
        Adapter,
        Attention,
        Head,
        HiddenLoss,
        Loss,
        LossOutput,
        MemoryShape,
        Record,
        TokenLogps,
        TopkLoss,
        Watching,
    )
    from anima_core.errors import AnimaError, DataError, DivergedError, SetupError, UsageError
    from anima_core.hookspecs import HOOK_API, hookimpl
    from anima_core.model.beside import check_same_vocabulary, check_window, frozen_bytes
    from anima_core.model.frozen import FrozenModel, load_frozen
    from anima_core.problems import Finding, Problem
    from anima_core.runs.plan import DataSummary
    from anima_core.strategy import NoOptions, Options, Strategy

__all__ = [
    "HOOK_API",
    "Adapter",
    "AnimaError",
    "Attention",
    "Batch",
    "DataError",
    "DataSummary",
    "DivergedError",
    "EncodedExample",
    "Finding",
    "FrozenModel",
    "Head",
    "HiddenLoss",
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
    "SegmentAttend",
    "SetupError",
    "Strategy",
    "TokenLogps",
    "TokenSegment",
    "TopkLoss",
    "UsageError",
    "Watching",
    "__version__",
    "adapt",
    "check_same_vocabulary",
    "check_window",
    "frozen_bytes",
    "hookimpl",
    "load_frozen",
    "register_segment_attention",
    "segment_sdpa",
]

_MODULES = {
    "api": ("adapt",),
    "attention.sdpa": ("segment_sdpa",),
    "attention.segments": ("SegmentAttend", "register_segment_attention"),
    "batch": ("Batch", "EncodedExample", "Role", "Segment", "TokenSegment"),
    "context": ("RunContext",),
    "contracts": (
        "Adapter",
        "Attention",
        "Head",
        "HiddenLoss",
        "Loss",
        "LossOutput",
        "MemoryShape",
        "Record",
        "TokenLogps",
        "TopkLoss",
        "Watching",
    ),
    "errors": ("AnimaError", "DataError", "DivergedError", "SetupError", "UsageError"),
    "hookspecs": ("HOOK_API", "hookimpl"),
    "model.beside": ("check_same_vocabulary", "check_window", "frozen_bytes"),
    "model.frozen": ("FrozenModel", "load_frozen"),
    "problems": ("Finding", "Problem"),
    "runs.plan": ("DataSummary",),
    "strategy": ("NoOptions", "Options", "Strategy"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
