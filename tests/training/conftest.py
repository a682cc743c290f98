"""Short runs of preference training, with a cache of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reference_passes import Listener, Trace

import anima_core


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANIMA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reference"


@pytest.fixture
def train(tiny_dir: Path, pairs_file: Path, tmp_path: Path, cache: Path) -> Callable[..., Trace]:
    del cache
    runs = iter(range(100))

    def train(
        listener: Listener | None = None,
        *,
        model: Path = tiny_dir,
        data: Path = pairs_file,
        strategies: dict[str, Any] | None = None,
        **options: Any,
    ) -> Trace:
        output = tmp_path / f"run{next(runs)}"
        anima_core.adapt(
            model, data, output=output, reporter=listener or Listener(),
            strategies={"lora": {}, "dpo": {}} if strategies is None else strategies,
            **{"steps": 3, "batch_size": 4, "micro_tokens": 3, "dtype": "float32",
               "device": "cpu", "learning_rate": 1e-2, **options},
        )  # fmt: skip
        lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [(r["loss"], r["grad_norm"]) for r in map(json.loads, lines) if "loss" in r]

    return train
