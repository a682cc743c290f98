"""Anima's side: makes models and examples; computes each loss, and compares it with TRL's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from agreement import Case, backward, main
from anima_dpo.cpo.loss import CpoLoss
from anima_dpo.cpo.strategy import CpoOptions
from anima_dpo.kto.loss import KtoLoss
from anima_dpo.kto.strategy import KtoOptions
from anima_dpo.orpo.loss import OrpoLoss
from anima_dpo.orpo.strategy import OrpoOptions
from anima_dpo.simpo.loss import SimpoLoss
from anima_dpo.simpo.strategy import SimpoOptions
from dpo_losses_anima import examples, load, make

from anima_core import (
    EncodedExample,
    Loss,
    Role,
    TokenSegment,
)
from anima_core.data.mismatched import mismatched
from anima_core.data.store import Examples
from anima_core.loss.plain import plain_logps
from anima_core.testing import batch_of
from anima_core.training.module import LogpsModule

LOSSES: dict[str, tuple[Any, Any]] = {
    "orpo": (OrpoLoss, OrpoOptions),
    "simpo": (SimpoLoss, SimpoOptions),
    "cpo": (CpoLoss, CpoOptions),
    "kto": (KtoLoss, KtoOptions),
}


def make_all(folder: Path) -> None:
    """What both sides start from."""
    make(folder)
    make_short_and_unpaired(folder)


def make_short_and_unpaired(folder: Path) -> None:
    """The pairs with prompts of one token, and every other answer of them with a verdict."""
    pairs = json.loads((folder / "pairs.json").read_text(encoding="utf-8"))
    short = [{**pair, "prompt": pair["prompt"][:1]} for pair in pairs]
    (folder / "short.json").write_text(json.dumps(short), encoding="utf-8")
    unpaired = [
        {
            "prompt_ids": list(example.segments[0].ids),
            "completion_ids": list(example.segments[1].ids),
            "KL_completion_ids": list(example.segments[2].ids),
            "label": example.segments[1].role == Role.CHOSEN,
        }
        for example in singles(folder)
    ]
    (folder / "unpaired.json").write_text(json.dumps(unpaired), encoding="utf-8")


def singles(folder: Path) -> list[EncodedExample]:
    """One answer of each pair, in turn a good one and a bad one, with that of the next beside."""
    found = []
    for number, pair in enumerate(examples(folder)):
        prompt, *answers = pair.segments
        found.append(EncodedExample((prompt, answers[number % 2]), group=number))
    return list(mismatched(Examples.of(found), limit=1000))


def batch_for(folder: Path, case: dict[str, Any]) -> Any:
    """The batch that a case is computed on."""
    if case["trainer"] == "KTO":
        own = singles(folder)
        if case["ours"]["loss"] != "kto":
            own = [EncodedExample(example.segments[:2]) for example in own]
        return batch_of(own)
    if case["trainer"] != "ORPO":
        return batch_of(examples(folder))
    return batch_of(
        [EncodedExample((_first(e.segments[0]), *e.segments[1:])) for e in examples(folder)]
    )


def _first(prompt: TokenSegment) -> TokenSegment:
    return TokenSegment(prompt.ids[:1], prompt.supervised[:1], prompt.role)


def computed(folder: Path) -> Case:
    """Computes a case on its batch."""
    models = [load(folder / name) for name in ("model", "reference")]

    def value(case: dict[str, Any]) -> tuple[float, list[torch.nn.Module]]:
        model, reference = models[::-1] if case.get("exchanged") else models
        made, options = LOSSES[case["strategy"]]
        loss: Loss = made(options(**case["ours"]))
        batch = batch_for(folder, case)
        ref = None
        if loss.uses_reference:
            with torch.no_grad():
                ref = LogpsModule(reference, plain_logps, loss).logps(batch)
        return backward(LogpsModule(model, plain_logps, loss), loss, batch, ref), [model]

    return value


if __name__ == "__main__":
    raise SystemExit(main(__doc__, make_all, computed))
