from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from anima_qlora.lora import Lora
from anima_qlora.options import LoraOptions, QloraOptions
from anima_qlora.qlora import Qlora
from transformers import AutoConfig, AutoModelForCausalLM

from anima_core import Adapter, Attention, RunContext
from anima_core.testing import run_context, save_tiny


@pytest.fixture(autouse=True)
def _one_seed() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny model's folder by family, each written once."""
    root = tmp_path_factory.mktemp("models")

    def folder(family: str) -> Path:
        if not (root / family).exists():
            save_tiny(root / family, family)
        return root / family

    return folder


@dataclass
class Built:
    """A base model, what it answered before it was adapted, and its adapter."""

    strategy: Lora
    run: RunContext
    base: Any
    before: torch.Tensor
    adapter: Adapter

    def logits(self) -> torch.Tensor:
        return logits(self.adapter.model)

    def train(self, steps: int = 2) -> None:
        train(self.adapter, steps)


IDS = torch.tensor([[5, 17, 8, 33, 2, 91, 64, 7]])


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        answer: torch.Tensor = model(input_ids=IDS).logits
    return answer


def train(adapter: Adapter, steps: int) -> None:
    adapter.model.train()
    optimizer = torch.optim.Adam(adapter.trainable.values(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        adapter.model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()


@pytest.fixture
def build(folders: Callable[[str], Path]) -> Callable[..., Built]:
    """Make ``lora`` or ``qlora`` on a tiny model: ``build("qlora", bits=8)``."""

    def make(
        word: str,
        family: str = "llama",
        dtype: str = "float32",
        seed: int = 0,
        model: str = "tiny",
        **given: Any,
    ) -> Built:
        folder = folders(family)
        config = AutoConfig.from_pretrained(folder)
        options = {"r": 4, "alpha": 8.0, **given}
        strategy = (
            Lora(LoraOptions(**options)) if word == "lora" else Qlora(QloraOptions(**options))
        )
        run = run_context(
            model=model,
            model_dir=folder,
            model_config=config,
            dtype=dtype,
            strategies={word: strategy.options},
        )
        problems = strategy.validate(run)
        assert not problems, problems
        torch.manual_seed(seed)
        base = (
            strategy.load_model(run, config, Attention(name="sdpa"))
            if isinstance(strategy, Qlora)
            else AutoModelForCausalLM.from_pretrained(
                folder, config=config, dtype=run.torch_weights_dtype
            )
        )
        before = logits(base)
        return Built(strategy, run, base, before, strategy.adapt_model(run, base))

    return make
