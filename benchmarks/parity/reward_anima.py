"""Anima's side: makes the model, the head and the pairs; computes each loss, and compares."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from agreement import Case, backward, main
from anima_dpo.reward.loss import RewardLoss
from anima_dpo.reward.strategy import RewardOptions
from dpo_losses_anima import LAYOUT, VOCAB, examples, load
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from anima_core.loss.plain import plain_logps
from anima_core.testing import batch_of, save_tiny
from anima_core.training.module import LogpsModule

HEAD = "head.safetensors"


def make(folder: Path) -> None:
    """A random model and head, the two as transformers has them together, and random pairs."""
    save_tiny(folder / "model", seed=1, vocab=VOCAB)
    torch.manual_seed(2)
    head = RewardLoss().head(64).state_dict()
    save_file(head, folder / HEAD)
    whole = AutoModelForSequenceClassification.from_pretrained(
        folder / "model", num_labels=1, dtype=torch.float32
    )
    whole.load_state_dict(head, strict=False)
    whole.config.pad_token_id = 0
    whole.save_pretrained(folder / "classifier")
    rng = random.Random(0)
    names = ("prompt", "chosen", "rejected")
    pairs = [
        {
            **{
                name: [rng.randrange(3, VOCAB) for _ in range(n)]
                for name, n in zip(names, lengths, strict=True)
            },
            "margin": rng.choice([0.0, 0.5, 1.0, 3.0]),
        }
        for lengths in LAYOUT
    ]
    (folder / "pairs.json").write_text(json.dumps(pairs), encoding="utf-8")


def computed(folder: Path) -> Case:
    """Computes a case on the batch of all pairs, with margins or without."""
    pairs = json.loads((folder / "pairs.json").read_text(encoding="utf-8"))
    encoded = examples(folder)
    judged = [replace(e, margin=p["margin"]) for e, p in zip(encoded, pairs, strict=True)]

    def value(case: dict[str, Any]) -> tuple[float, list[torch.nn.Module]]:
        model = load(folder / "model")
        loss = RewardLoss(RewardOptions(centering=case["centering"]))
        head = loss.head(64)
        head.load_state_dict(load_file(folder / HEAD))
        batch = batch_of(judged if case["margins"] else encoded)
        module = LogpsModule(model, plain_logps, loss, head=head)
        return backward(module, loss, batch), [model, head]

    return value


if __name__ == "__main__":
    raise SystemExit(main(__doc__, make, computed))
