"""What the tests of this distribution share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from anima_core import RunContext
from anima_core.config.core import CoreOptions


@pytest.fixture
def tiny_llama() -> Any:
    """The config of a Llama small enough for any test."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=128,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rope_theta=10000.0,
    )


@pytest.fixture
def make_run(tmp_path: Path, tiny_llama: Any) -> Callable[..., RunContext]:
    """Build a `RunContext`; the model's folder holds the given config."""

    def make(
        *,
        config: Any = None,
        strategies: dict[str, Any] | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        trust_remote_code: bool = False,
    ) -> RunContext:
        config = tiny_llama if config is None else config
        config.save_pretrained(tmp_path)
        return RunContext(
            config=CoreOptions(model=str(tmp_path), trust_remote_code=trust_remote_code),
            strategies=MappingProxyType(strategies or {}),
            model_dir=tmp_path,
            model_config=config,
            device=device,
            dtype=dtype,
            weights_dtype=dtype,
        )

    return make
