"""What one pass of preference training does to held-out pairs: margin and accuracy, by seed.

python benchmarks/held_out.py --data path/to/preference_pairs.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.machine import this_machine

ANIMA = (sys.executable, "-m", "anima_core")


def main() -> None:
    """Train once for each seed, print a table, and fail where a mean margin did not rise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="preference pairs")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--held-out", type=int, default=40, help="pairs that are not trained on")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--overlong", default="truncate", choices=("truncate", "drop"))
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--strategy", default="dpo", help="whose loss learns from pairs")
    parser.add_argument("--anima-args", default="", help="more options of `anima train`")
    options = parser.parse_args()
    print(f"{this_machine().describe()}\n")
    wanted = trained_on(options)
    print(f"{wanted} pairs within {options.max_length} tokens, {options.held_out} held out\n")
    print("| seed | trained on | held out | margin | accuracy |\n|---|---|---|---|---|", flush=True)
    rose = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory(prefix="anima-held-out-") as name:
            before, after, pairs = once(options, seed, options.held_out / wanted, Path(name) / "r")
        held_out = wanted - pairs
        cells = [f"{before[k]:.4f} to {after[k]:.4f}" for k in ("eval_margin", "eval_accuracy")]
        print(f"| {seed} | {pairs} | {held_out} | {' | '.join(cells)} |", flush=True)
        rose.append(after["eval_margin"] > before["eval_margin"])
    if not all(rose):
        sys.exit("the mean margin of held-out pairs did not rise for every seed")


def trained_on(options: argparse.Namespace) -> int:
    """How many of the data's pairs a run would train on."""
    command = [*ANIMA, "data", options.model, options.data, "--json", *shaping(options)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    count: int = json.loads(ran.stdout)["trained_on"]
    return count


def shaping(options: argparse.Namespace) -> list[str]:
    """The options that decide which pairs there are."""
    limits = ["--max-length", str(options.max_length), "--overlong", options.overlong]
    return [f"--{options.strategy}", *limits]


def once(
    options: argparse.Namespace, seed: int, fraction: float, run: Path
) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Train for one pass: the first and the last evaluation, and the pairs trained on."""
    command = [*ANIMA, "train", options.model, options.data, *shaping(options)]
    command += ["--lora", "--xentropy", "--seed", str(seed), "--epochs", "1"]
    command += ["--batch-size", str(options.batch_size), "--eval-fraction", f"{fraction:.6f}"]
    command += ["--output", str(run), *options.anima_args.split()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    evaluations = [row for row in rows if "eval_margin" in row]
    plan = json.loads((run / "manifest.json").read_text())["plan"]
    return evaluations[0], evaluations[-1], plan["data"]["examples"]


if __name__ == "__main__":
    main()
