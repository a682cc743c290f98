"""TRL's side: its trainers compute each loss and its gradient. Imports nothing of Anima."""
# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call,no-any-return"

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference
from trl_losses import QUIET, main

KINDS = {
    "CPO": (CPOTrainer, CPOConfig),
    "KTO": (KTOTrainer, KTOConfig),
    "ORPO": (ORPOTrainer, ORPOConfig),
}
PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}


def computed(folder: Path, case: dict[str, Any]) -> tuple[Any, torch.Tensor]:
    """A fresh model and the loss of it."""
    names = ["model", "reference"]
    own, other = names[::-1] if case.get("exchanged") else names
    trainer, config = KINDS[case["trainer"]]
    more: dict[str, Any] = {}
    if case["trainer"] == "KTO":
        more["ref_model"] = load(folder / other)
    made = trainer(
        model=load(folder / own),
        args=config(
            output_dir=str(folder / "trl"),
            **QUIET,
            remove_unused_columns=False,
            **case["config"],
        ),
        train_dataset=Dataset.from_list(
            [{"prompt": x, "completion": "b", "label": x == "a"} for x in "ab"]
            if case["trainer"] == "KTO"
            else [PAIR]
        ),
        processing_class=AutoTokenizer.from_pretrained(folder / own),
        **more,
    )
    made.model.train()
    if case["trainer"] == "KTO":
        return made.model, made.compute_loss(made.model, unpaired(folder))
    file = "short" if case["trainer"] == "ORPO" else "pairs"
    pairs = json.loads((folder / f"{file}.json").read_text(encoding="utf-8"))
    loss, _ = made.get_batch_loss_metrics(made.model, paired(pairs))
    return made.model, loss


def load(folder: Path) -> Any:
    """A model, fresh."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def unpaired(folder: Path) -> dict[str, torch.Tensor]:
    """The examples with a verdict, by TRL's own collator."""
    rows = json.loads((folder / "unpaired.json").read_text(encoding="utf-8"))
    return DataCollatorForUnpairedPreference(pad_token_id=0)(rows)


def paired(pairs: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """The pairs, padded on the right, as TRL's collator has them."""
    found = {}
    for answer in ("chosen", "rejected"):
        rows = [(pair["prompt"], pair[answer]) for pair in pairs]
        width = max(len(prompt) + len(ids) for prompt, ids in rows)

        def filled(make: Any, fill: int, rows: Any = rows, width: int = width) -> torch.Tensor:
            values = [make(prompt, ids) for prompt, ids in rows]
            return torch.tensor([v + [fill] * (width - len(v)) for v in values])

        found[f"{answer}_input_ids"] = filled(lambda prompt, ids: prompt + ids, 0)
        found[f"{answer}_attention_mask"] = filled(lambda prompt, ids: [1] * len(prompt + ids), 0)
        found[f"{answer}_labels"] = filled(lambda prompt, ids: [-100] * len(prompt) + ids, -100)
    return found


if __name__ == "__main__":
    main(__doc__, computed)
