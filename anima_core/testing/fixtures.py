"""Fixtures for a plugin's tests, for those who ask for them.

In ``conftest.py``::

    pytest_plugins = ["anima_core.testing.fixtures"]

`anima_core.testing` itself needs no pytest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from anima_core.context import RunContext
    from anima_core.testing.models import Family

MakeModelDir = Callable[..., Path]


@pytest.fixture(scope="session")
def make_tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> MakeModelDir:
    """``make_tiny_model_dir("gpt2")``: a tiny model of a family as a model folder; made once."""
    made: dict[str, Path] = {}

    def make(family: Family = "llama") -> Path:
        from anima_core.testing.models import save_tiny

        if family not in made:
            made[family] = save_tiny(tmp_path_factory.mktemp(f"tiny-{family}") / "model", family)
        return made[family]

    return make


@pytest.fixture(scope="session")
def tiny_model_dir(make_tiny_model_dir: MakeModelDir) -> Path:
    """A tiny Llama and its tokenizer as a model folder, to be named as MODEL."""
    return make_tiny_model_dir("llama")


@pytest.fixture(scope="session")
def tiny_sft_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight short prompts with their completions, to be named as DATA (jsonl)."""
    from anima_core.testing.data import write_data

    return write_data(tmp_path_factory.mktemp("tiny-data") / "sft.jsonl", "completion")


@pytest.fixture(scope="session")
def tiny_preference_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight short prompts with a chosen and a rejected answer, to be named as DATA (jsonl)."""
    from anima_core.testing.data import write_data

    return write_data(tmp_path_factory.mktemp("tiny-data") / "pairs.jsonl", "preference")


@pytest.fixture
def make_run_context(tiny_model_dir: Path, tmp_path: Path) -> Callable[..., RunContext]:
    """`anima_core.testing.run_context` on the tiny model's folder and a run directory.

    Call it with core options by field name: ``make_run_context(learning_rate=1e-2)``.
    """
    from transformers import AutoConfig

    from anima_core.testing.context import run_context

    def make(**core: Any) -> RunContext:
        folder = core.pop("model_dir", tiny_model_dir)
        found: dict[str, Any] = {
            "model": str(folder),
            "model_dir": folder,
            "model_config": AutoConfig.from_pretrained(folder),
            "run_dir": tmp_path / "run",
        }
        return run_context(**{**found, **core})

    return make


@pytest.fixture
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """`anima_core.testing.tiny_tokenizer`, made anew."""
    from anima_core.testing.tokenizer import tiny_tokenizer

    return tiny_tokenizer()
