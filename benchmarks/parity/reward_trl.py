"""TRL's side: `RewardTrainer` computes each loss and its gradient. Imports nothing of Anima."""
# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call,no-any-return"

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer


def main() -> None:
    """Compute every case on the same batch."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    folder: Path = parser.parse_args().folder
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    pairs = json.loads((folder / "pairs.json").read_text(encoding="utf-8"))
    values = {}
    gradients: dict[str, torch.Tensor] = {}
    for number, (name, case) in enumerate(cases.items()):
        made = trainer(folder, case["centering"])
        made.model.train()
        rows = [features(pair, margins=case["margins"]) for pair in pairs]
        loss = made.compute_loss(made.model, made.data_collator(rows))
        loss.backward()
        values[name] = float(loss.detach())
        for parameter, tensor in made.model.named_parameters():
            if tensor.grad is not None:
                gradients[f"{number}.{parameter}"] = tensor.grad.clone()
    save_file(gradients, folder / "trl.safetensors")
    result = {"trl": trl.__version__, "torch": torch.__version__, "values": values}
    (folder / "trl.json").write_text(json.dumps(result), encoding="utf-8")


def trainer(folder: Path, centering: float) -> RewardTrainer:
    """A trainer whose model is fresh; its own data are not looked at."""
    return RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(
            folder / "classifier", num_labels=1, dtype=torch.float32
        ),
        args=RewardConfig(
            output_dir=str(folder / "trl"),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            disable_tqdm=True,
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
    main()
