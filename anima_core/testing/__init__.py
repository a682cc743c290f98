"""Checks that any strategy can be put to, and small things to put it to.

Every check is a plain function that raises `AssertionError` with what was wrong, so it works under
pytest, unittest or alone::

    from anima_core.testing import batch_of, check_gradient, random_examples

    def test_gradient():
        check_gradient(MyLoss(), batch_of(random_examples("completion", 4)))

Importing this package imports no torch; a check imports what it needs when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anima_core.testing.budget import check_import_budget
    from anima_core.testing.conformance import Check, checks_for
    from anima_core.testing.context import run_context
    from anima_core.testing.data import batch_of, random_examples
    from anima_core.testing.kernels import check_token_logps
    from anima_core.testing.losses import check_gradient, check_micro_batch_invariance
    from anima_core.testing.models import FAMILIES, save_tiny, tiny_config, tiny_model
    from anima_core.testing.optimizers import check_optimizer
    from anima_core.testing.segments import check_segment_isolation
    from anima_core.testing.strategies import check_strategy
    from anima_core.testing.tokenizer import tiny_tokenizer

__all__ = [
    "FAMILIES",
    "Check",
    "batch_of",
    "check_gradient",
    "check_import_budget",
    "check_micro_batch_invariance",
    "check_optimizer",
    "check_segment_isolation",
    "check_strategy",
    "check_token_logps",
    "checks_for",
    "random_examples",
    "run_context",
    "save_tiny",
    "tiny_config",
    "tiny_model",
    "tiny_tokenizer",
]

_HOMES = {
    "FAMILIES": "models",
    "Check": "conformance",
    "batch_of": "data",
    "check_gradient": "losses",
    "check_import_budget": "budget",
    "check_micro_batch_invariance": "losses",
    "check_optimizer": "optimizers",
    "check_segment_isolation": "segments",
    "check_strategy": "strategies",
    "check_token_logps": "kernels",
    "checks_for": "conformance",
    "random_examples": "data",
    "run_context": "context",
    "save_tiny": "models",
    "tiny_config": "models",
    "tiny_model": "models",
    "tiny_tokenizer": "tokenizer",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
