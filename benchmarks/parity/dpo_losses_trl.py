"""TRL's side: `DPOTrainer` computes each loss and its gradient. Imports nothing of Anima."""
# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call,no-any-return"

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer
from trl_losses import QUIET, main


def computed(folder: Path, case: list[Any]) -> tuple[Any, torch.Tensor]:
    """A fresh model and the loss of it."""
    made = trainer(folder, case[1])
    made.model.train()
    inputs = padded(json.loads((folder / "pairs.json").read_text(encoding="utf-8")))
    return made.model, made.compute_loss(made.model, inputs)


def trainer(folder: Path, config: dict[str, Any]) -> DPOTrainer:
    """A trainer whose model and reference are fresh; its own data are not looked at."""
    model, reference = (
        AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32)
        for name in ("model", "reference")
    )
    return DPOTrainer(
        model=model,
        ref_model=reference,
        args=DPOConfig(
            output_dir=str(folder / "trl"),
            **QUIET,
            **config,
        ),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
    )


def padded(pairs: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """All chosen sequences, then all rejected ones, padded on the right."""
    rows = [(p["prompt"], p[answer]) for answer in ("chosen", "rejected") for p in pairs]
    width = max(len(prompt) + len(answer) for prompt, answer in rows)

    def filled(make: Any) -> torch.Tensor:
        values = [make(prompt, answer) for prompt, answer in rows]
        return torch.tensor([v + [0] * (width - len(v)) for v in values])

    return {
        "input_ids": filled(lambda prompt, answer: prompt + answer),
        "attention_mask": filled(lambda prompt, answer: [1] * len(prompt + answer)),
        "completion_mask": filled(lambda prompt, answer: [0] * len(prompt) + [1] * len(answer)),
    }


if __name__ == "__main__":
    main(__doc__, computed)
