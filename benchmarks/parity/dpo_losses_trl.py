"""TRL's side: `DPOTrainer` computes each loss and its gradient. Imports nothing of Anima."""
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
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer


def main() -> None:
    """Compute every case on the same batch."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    folder: Path = parser.parse_args().folder
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    inputs = padded(json.loads((folder / "pairs.json").read_text(encoding="utf-8")))
    values = {}
    gradients: dict[str, torch.Tensor] = {}
    for number, (name, (_, config)) in enumerate(cases.items()):
        made = trainer(folder, config)
        made.model.train()
        loss = made.compute_loss(made.model, inputs)
        loss.backward()
        values[name] = float(loss.detach())
        for parameter, tensor in made.model.named_parameters():
            if tensor.grad is not None:
                gradients[f"{number}.{parameter}"] = tensor.grad.clone()
    save_file(gradients, folder / "trl.safetensors")
    result = {"trl": trl.__version__, "torch": torch.__version__, "values": values}
    (folder / "trl.json").write_text(json.dumps(result), encoding="utf-8")


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
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            disable_tqdm=True,
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
    main()
