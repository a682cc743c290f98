"""Anima's side: makes the model and the pairs; computes each loss, and compares it with TRL's."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from agreement import Case, backward, main
from anima_dpo.loss import make_loss
from anima_dpo.options import DpoOptions
from transformers import AutoModelForCausalLM

from anima_core import EncodedExample, Role, TokenSegment
from anima_core.attention.sdpa import NAME
from anima_core.loss.plain import plain_logps
from anima_core.testing import batch_of, save_tiny
from anima_core.training.module import LogpsModule

VOCAB = 320
LAYOUT = [(7, 12, 5), (3, 1, 9), (12, 6, 6), (5, 20, 14), (1, 4, 2), (9, 3, 11)]
"""Tokens of each pair's prompt, chosen and rejected answer."""


def make(folder: Path) -> None:
    """Two random models, drawn apart enough for log-ratios of some nats, and random pairs."""
    save_tiny(folder / "model", seed=1, vocab=VOCAB)
    save_tiny(folder / "reference", seed=2, vocab=VOCAB)
    rng = random.Random(0)
    names = ("prompt", "chosen", "rejected")
    pairs = [
        {
            name: [rng.randrange(3, VOCAB) for _ in range(n)]
            for name, n in zip(names, lengths, strict=True)
        }
        for lengths in LAYOUT
    ]
    (folder / "pairs.json").write_text(json.dumps(pairs), encoding="utf-8")


def computed(folder: Path) -> Case:
    """Computes a case on the batch of all pairs."""
    batch = batch_of(examples(folder))
    model, reference = load(folder / "model"), load(folder / "reference")
    with torch.no_grad():
        ref = LogpsModule(reference, plain_logps, make_loss(DpoOptions())).logps(batch)

    def value(case: Any) -> tuple[float, list[torch.nn.Module]]:
        loss = make_loss(DpoOptions(**case[0]))
        return backward(LogpsModule(model, plain_logps, loss), loss, batch, ref), [model]

    return value


def load(folder: Path) -> Any:
    """A model that attends segment by segment."""
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=NAME
    )


def examples(folder: Path) -> list[EncodedExample]:
    """The pairs as Anima encodes them: one prompt that two answers continue."""
    encoded = []
    for pair in json.loads((folder / "pairs.json").read_text(encoding="utf-8")):
        roles = (("prompt", Role.PROMPT), ("chosen", Role.CHOSEN), ("rejected", Role.REJECTED))
        encoded.append(
            EncodedExample(
                tuple(
                    TokenSegment(
                        tuple(pair[name]),
                        (role != Role.PROMPT,) * len(pair[name]),
                        role,
                        parent=-1 if role == Role.PROMPT else 0,
                    )
                    for name, role in roles
                )
            )
        )
    return encoded


if __name__ == "__main__":
    raise SystemExit(main(__doc__, make, computed))
