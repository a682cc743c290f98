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
    from anima_core.testing.adapters import check_adapter
    from anima_core.testing.budget import check_import_budget
    from anima_core.testing.configs import check_configure
    from anima_core.testing.conformance import Check, checks_for
    from anima_core.testing.context import run_context
    from anima_core.testing.data import batch_of, random_examples, write_data
    from anima_core.testing.hooks import check_answers, check_globals
    from anima_core.testing.kernels import check_token_logps
    from anima_core.testing.loaders import check_loader
    from anima_core.testing.losses import check_gradient, check_micro_batch_invariance
    from anima_core.testing.models import FAMILIES, save_tiny, tiny_config, tiny_model
    from anima_core.testing.optimizers import check_optimizer
    from anima_core.testing.options import check_options
    from anima_core.testing.patches import check_patch
    from anima_core.testing.readers import check_reader
    from anima_core.testing.runs import check_run
    from anima_core.testing.segments import check_segment_isolation
    from anima_core.testing.strategies import check_strategy
    from anima_core.testing.tokenizer import tiny_tokenizer
    from anima_core.testing.tokenizing import check_tokenizer
    from anima_core.testing.whole_losses import check_loss

__all__ = [
    "FAMILIES",
    "Check",
    "batch_of",
    "check_adapter",
    "check_answers",
    "check_configure",
    "check_globals",
    "check_gradient",
    "check_import_budget",
    "check_loader",
    "check_loss",
    "check_micro_batch_invariance",
    "check_optimizer",
    "check_options",
    "check_patch",
    "check_reader",
    "check_run",
    "check_segment_isolation",
    "check_strategy",
    "check_token_logps",
    "check_tokenizer",
    "checks_for",
    "random_examples",
    "run_context",
    "save_tiny",
    "tiny_config",
    "tiny_model",
    "tiny_tokenizer",
    "write_data",
]

_HOMES = {
    "FAMILIES": "models",
    "Check": "conformance",
    "batch_of": "data",
    "check_adapter": "adapters",
    "check_answers": "hooks",
    "check_configure": "configs",
    "check_globals": "hooks",
    "check_gradient": "losses",
    "check_import_budget": "budget",
    "check_loader": "loaders",
    "check_loss": "whole_losses",
    "check_micro_batch_invariance": "losses",
    "check_optimizer": "optimizers",
    "check_options": "options",
    "check_patch": "patches",
    "check_reader": "readers",
    "check_run": "runs",
    "check_segment_isolation": "segments",
    "check_strategy": "strategies",
    "check_token_logps": "kernels",
    "check_tokenizer": "tokenizing",
    "checks_for": "conformance",
    "random_examples": "data",
    "run_context": "context",
    "save_tiny": "models",
    "tiny_config": "models",
    "tiny_model": "models",
    "tiny_tokenizer": "tokenizer",
    "write_data": "data",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
