"""Anima's side: makes the model, the head and the pairs; computes each loss, and compares."""

from __future__ import annotations

import argparse
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import torch
from anima_dpo.reward.loss import RewardLoss
from anima_dpo.reward.strategy import RewardOptions
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

from dpo_losses_anima import LAYOUT, TOLERANCE, VOCAB, examples  # noqa: E402

import anima_core  # noqa: E402
from anima_core import register_segment_attention, segment_sdpa  # noqa: E402
from anima_core.attention.sdpa import NAME  # noqa: E402
from anima_core.loss.plain import plain_logps  # noqa: E402
from anima_core.testing import batch_of, save_tiny  # noqa: E402
from anima_core.training.module import LogpsModule  # noqa: E402

HEAD = "head.safetensors"


def main() -> None:
    """Make what both sides start from, or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--make", action="store_true", help="write the model, head and pairs")
    options = parser.parse_args()
    if options.make:
        make(options.folder)
    else:
        raise SystemExit(compare(options.folder))


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


def compare(folder: Path) -> int:
    """Compute every case, print the table, and say whether something differs."""
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    theirs = json.loads((folder / "trl.json").read_text(encoding="utf-8"))
    gradients = load_file(folder / "trl.safetensors")
    pairs = json.loads((folder / "pairs.json").read_text(encoding="utf-8"))
    encoded = examples(folder)
    judged = [replace(e, margin=p["margin"]) for e, p in zip(encoded, pairs, strict=True)]
    register_segment_attention(NAME, segment_sdpa)
    print("| case | Anima | TRL | value differs by | gradient differs by | |")
    print("|---|---:|---:|---:|---:|---|")
    failed = 0
    for number, (name, case) in enumerate(cases.items()):
        model = AutoModelForCausalLM.from_pretrained(
            folder / "model", dtype=torch.float32, attn_implementation=NAME
        )
        loss = RewardLoss(RewardOptions(centering=case["centering"]))
        head = loss.head(64)
        head.load_state_dict(load_file(folder / HEAD))
        batch = batch_of(judged if case["margins"] else encoded)
        output = LogpsModule(model, plain_logps, loss, head=head)(batch)
        value = output.totals["reward"] / loss.denominators(batch)["reward"]
        value.backward()
        found, expected = float(value.detach()), theirs["values"][name]
        value_off = abs(found - expected) / max(abs(expected), 1e-12)
        gradient_off = difference(model, head, gradients, number)
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


def difference(
    model: torch.nn.Module,
    head: torch.nn.Module,
    gradients: dict[str, torch.Tensor],
    number: int,
) -> float:
    """The norm of the difference of two gradients, by the norm of TRL's; NaN fails.

    A parameter that has one on one side alone makes it infinite.
    """
    mine = {n: p.grad for m in (model, head) for n, p in m.named_parameters() if p.grad is not None}
    prefix = f"{number}."
    theirs = {n.removeprefix(prefix): g for n, g in gradients.items() if n.startswith(prefix)}
    if mine.keys() != theirs.keys():
        return float("inf")
    square = sum(float((mine[n].double() - g.double()).square().sum()) for n, g in theirs.items())
    size = sum(float(g.double().square().sum()) for g in theirs.values())
    return float((square / size) ** 0.5) if size else float("inf")


if __name__ == "__main__":
    main()
