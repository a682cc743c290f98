"""Anima's side: makes the model and the pairs; computes each loss, and compares it with TRL's."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch
from anima_dpo.loss import make_loss
from anima_dpo.options import DpoOptions
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import anima_core
from anima_core import EncodedExample, Role, TokenSegment, register_segment_attention, segment_sdpa
from anima_core.attention.sdpa import NAME
from anima_core.loss.plain import plain_logps
from anima_core.testing import batch_of, save_tiny
from anima_core.training.module import LogpsModule

TOLERANCE = 1e-4
VOCAB = 320
LAYOUT = [(7, 12, 5), (3, 1, 9), (12, 6, 6), (5, 20, 14), (1, 4, 2), (9, 3, 11)]
"""Tokens of each pair's prompt, chosen and rejected answer."""


def main() -> None:
    """Make what both sides start from, or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--make", action="store_true", help="write the model, reference and pairs")
    options = parser.parse_args()
    if options.make:
        make(options.folder)
    else:
        raise SystemExit(compare(options.folder))


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


def compare(folder: Path) -> int:
    """Compute every case, print the table, and say whether something differs."""
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    theirs = json.loads((folder / "trl.json").read_text(encoding="utf-8"))
    gradients = load_file(folder / "trl.safetensors")
    batch = batch_of(examples(folder))
    register_segment_attention(NAME, segment_sdpa)
    model, reference = (
        AutoModelForCausalLM.from_pretrained(
            folder / name, dtype=torch.float32, attn_implementation=NAME
        )
        for name in ("model", "reference")
    )
    with torch.no_grad():
        ref = LogpsModule(reference, plain_logps, make_loss(DpoOptions())).logps(batch)
    print("| loss | Anima | TRL | value differs by | gradient differs by | |")
    print("|---|---:|---:|---:|---:|---|")
    failed = 0
    for number, (name, (ours, _)) in enumerate(cases.items()):
        loss = make_loss(DpoOptions(**ours))
        model.zero_grad()
        output = LogpsModule(model, plain_logps, loss)(batch, ref)
        below = loss.denominators(batch)
        value = torch.stack([total / below[key] for key, total in output.totals.items()]).sum()
        value.backward()
        found, expected = float(value.detach()), theirs["values"][name]
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


def difference(model: torch.nn.Module, gradients: dict[str, torch.Tensor], number: int) -> float:
    """The norm of the difference of two gradients, by the norm of TRL's; NaN fails."""
    square = size = 0.0
    for name, parameter in model.named_parameters():
        theirs = gradients[f"{number}.{name}"].double()
        if parameter.grad is None:
            return float("inf")
        square += float((parameter.grad.double() - theirs).square().sum())
        size += float(theirs.square().sum())
    return float((square / size) ** 0.5) if size else float("inf")


if __name__ == "__main__":
    main()
