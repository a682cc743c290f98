"""TRL's side: `RewardTrainer` computes each loss and its gradient. Imports nothing of Anima."""
# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call,no-any-return"

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer
from trl_losses import QUIET, main


def computed(folder: Path, case: dict[str, Any]) -> tuple[Any, torch.Tensor]:
    """A fresh model and the loss of it."""
    made = trainer(folder, case["centering"])
    made.model.train()
    pairs = json.loads((folder / "pairs.json").read_text(encoding="utf-8"))
    rows = [features(pair, margins=case["margins"]) for pair in pairs]
    return made.model, made.compute_loss(made.model, made.data_collator(rows))


def trainer(folder: Path, centering: float) -> RewardTrainer:
    """A trainer whose model is fresh; its own data are not looked at."""
    return RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(
            folder / "classifier", num_labels=1, dtype=torch.float32
        ),
        args=RewardConfig(
            output_dir=str(folder / "trl"),
            **QUIET,
            center_rewards_coefficient=centering or None,
        ),
        train_dataset=Dataset.from_list([{"chosen": "b", "rejected": "c"}]),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
    )


def features(pair: dict[str, Any], *, margins: bool) -> dict[str, Any]:
    """A pair as TRL's collator takes it: prompt and answer in one."""
    row = {f"{name}_ids": pair["prompt"] + pair[name] for name in ("chosen", "rejected")}
    return row | ({"margin": pair["margin"]} if margins else {})


if __name__ == "__main__":
    main(__doc__, computed)
