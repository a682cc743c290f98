"""Anima's part of a comparison of losses: its table, a row for each case."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import anima_core
from anima_core import Batch, Loss, register_segment_attention, segment_sdpa
from anima_core.attention.sdpa import NAME
from anima_core.training.module import LogpsModule

TOLERANCE = 1e-4
Case = Callable[[dict[str, Any]], tuple[float, list[torch.nn.Module]]]


def main(about: str | None, make: Callable[[Path], None], computed: Callable[[Path], Case]) -> int:
    """Make what both sides start from, or compare.

    Args:
        about: the script's docstring.
        make: writes models and examples into a folder.
        computed: given the folder, computes a case: the loss's value, and the modules that its
            gradient was left in.

    Returns:
        1 where a value or a gradient differs by more than `TOLERANCE`, else 0.
    """
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--make", action="store_true", help="write the models and the examples")
    options = parser.parse_args()
    if options.make:
        make(options.folder)
        return 0
    register_segment_attention(NAME, segment_sdpa)
    return compare(options.folder, computed(options.folder))


def compare(folder: Path, computed: Case) -> int:
    """Compute every case, print the table, and say whether something differs."""
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    theirs = json.loads((folder / "trl.json").read_text(encoding="utf-8"))
    gradients = load_file(folder / "trl.safetensors")
    print("| loss | Anima | TRL | value differs by | gradient differs by | |")
    print("|---|---:|---:|---:|---:|---|")
    failed = 0
    for number, (name, case) in enumerate(cases.items()):
        found, modules = computed(case)
        expected = theirs["values"][name]
        value_off = abs(found - expected) / max(abs(expected), 1e-12)
        gradient_off = difference(modules, gradients, f"{number}.")
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


def backward(
    module: LogpsModule, loss: Loss, batch: Batch, reference: torch.Tensor | None = None
) -> float:
    """The loss of a step of one batch, whose gradient is left in the module."""
    module.zero_grad()
    output = module(batch, reference)
    below = loss.denominators(batch)
    value = torch.stack([total / below[key] for key, total in output.totals.items()]).sum()
    value.backward()
    return float(value.detach())


def difference(
    modules: list[torch.nn.Module], gradients: dict[str, torch.Tensor], prefix: str
) -> float:
    """The norm of the difference of two gradients, by the norm of TRL's; NaN fails.

    A parameter that has one on one side alone makes it infinite.
    """
    mine = {n: p.grad for m in modules for n, p in m.named_parameters() if p.grad is not None}
    theirs = {n.removeprefix(prefix): g for n, g in gradients.items() if n.startswith(prefix)}
    if mine.keys() != theirs.keys():
        return float("inf")
    square = sum(float((mine[n].double() - g.double()).square().sum()) for n, g in theirs.items())
    size = sum(float(g.double().square().sum()) for g in theirs.values())
    return float((square / size) ** 0.5) if size else float("inf")
