"""Anima's side: makes models and examples; computes each loss, and compares it with TRL's."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from anima_dpo.cpo.loss import CpoLoss
from anima_dpo.cpo.strategy import CpoOptions
from anima_dpo.kto.loss import KtoLoss
from anima_dpo.kto.strategy import KtoOptions
from anima_dpo.orpo.loss import OrpoLoss
from anima_dpo.orpo.strategy import OrpoOptions
from anima_dpo.simpo.loss import SimpoLoss
from anima_dpo.simpo.strategy import SimpoOptions
from dpo_losses_anima import TOLERANCE, difference, examples, make
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import anima_core
from anima_core import (
    EncodedExample,
    Loss,
    Role,
    TokenSegment,
    register_segment_attention,
    segment_sdpa,
)
from anima_core.attention.sdpa import NAME
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


def main() -> None:
    """Make what both sides start from, or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--make", action="store_true", help="write the models and the examples")
    options = parser.parse_args()
    if options.make:
        make(options.folder)
        make_short_and_unpaired(options.folder)
    else:
        raise SystemExit(compare(options.folder))


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


def compare(folder: Path) -> int:
    """Compute every case, print the table, and say whether something differs."""
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    theirs = json.loads((folder / "trl.json").read_text(encoding="utf-8"))
    gradients = load_file(folder / "trl.safetensors")
    register_segment_attention(NAME, segment_sdpa)
    models = [
        AutoModelForCausalLM.from_pretrained(
            folder / name, dtype=torch.float32, attn_implementation=NAME
        )
        for name in ("model", "reference")
    ]
    print("| loss | Anima | TRL | value differs by | gradient differs by | |")
    print("|---|---:|---:|---:|---:|---|")
    failed = 0
    for number, (name, case) in enumerate(cases.items()):
        model, reference = models[::-1] if case.get("exchanged") else models
        made, options = LOSSES[case["strategy"]]
        loss: Loss = made(options(**case["ours"]))
        found = value_of(loss, batch_for(folder, case), model, reference)
        expected = theirs["values"][name]
        value_off = abs(found - expected) / max(abs(expected), 1e-12)
        gradient_off = difference(model, gradients, number)
        fine = value_off <= TOLERANCE and gradient_off <= TOLERANCE
        failed += not fine
        mark = "" if fine else "differs"
        print(
            f"| {name} | {found:.6f} | {expected:.6f} | {value_off:.1e} | {gradient_off:.1e} "
            f"| {mark} |"
        )
    print(
        f"\n{len(cases) - failed} of {len(cases)} agree within {TOLERANCE:g}; anima-adapt "
        f"{anima_core.__version__}, trl {theirs['trl']}, torch {torch.__version__} and "
        f"{theirs['torch']}"
    )
    return 1 if failed else 0


def value_of(loss: Loss, batch: Any, model: Any, reference: Any) -> float:
    """The loss of a step, whose gradient is left in the model."""
    model.zero_grad()
    ref = None
    if loss.uses_reference:
        with torch.no_grad():
            ref = LogpsModule(reference, plain_logps, loss).logps(batch)
    output = LogpsModule(model, plain_logps, loss)(batch, ref)
    below = loss.denominators(batch)
    value = torch.stack([total / below[key] for key, total in output.totals.items()]).sum()
    value.backward()
    return float(value.detach())


if __name__ == "__main__":
    main()
