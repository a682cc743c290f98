"""The demo: teach a small model who it is, then what to prefer, and show what changed.

Two ordinary command lines do all the work; everything that is shown afterwards is read back
from the run directories that they leave. Run it with ``make demo``.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).absolute().with_name("anima")
DATA = "examples/demo"
SFT, DPO = "runs/demo-sft", "runs/demo-dpo"
FAST = ["--xentropy", "--paged-adamw", "--flash-attention-2"]

TEACH = [
    *("train", "demo", f"{DATA}/sft.jsonl", "--qlora", *FAST),
    *("--epochs", "4", "--batch-size", "4", "--learning-rate", "1e-3"),
    *("--sample-prompts", f"{DATA}/held_out.txt", "--sample-tokens", "32"),
    *("--output", SFT, "--overwrite"),
]
PREFER = [
    *("train", SFT, f"{DATA}/preferences.jsonl", "--dpo", *FAST),
    *("--epochs", "2", "--batch-size", "4", "--learning-rate", "5e-5"),
    *("--eval-data", f"{DATA}/preferences_held_out.jsonl"),
    *("--output", DPO, "--overwrite"),
]

console = Console()


def anima(arguments: list[str]) -> float:
    """Run one command line as a user would, show it, and return its seconds."""
    console.print(f"\n[bold]$ anima {shlex.join(arguments)}[/bold]\n", highlight=False)
    started = time.monotonic()
    done = subprocess.run([str(PROGRAM), *arguments], cwd=ROOT, check=False)
    if done.returncode:
        console.print(f"The command above ended with exit code {done.returncode}.", style="red")
        sys.exit(done.returncode)
    return time.monotonic() - started


def records(run: str, name: str) -> list[dict[str, Any]]:
    """The rows of a run directory's jsonl file."""
    lines = (ROOT / run / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def answers(seconds: float) -> Table:
    """Answers to the held-out prompts before and after training, side by side."""
    rows = records(SFT, "samples.jsonl")
    last = max(row["step"] for row in rows)
    before = {row["prompt"]: row["answer"] for row in rows if row["step"] == 0}
    after = {row["prompt"]: row["answer"] for row in rows if row["step"] == last}
    title = f"Prompts that were not in the data, {last} steps ({seconds:.0f} s) apart"
    table = Table("prompt", "before", "after", title=title, show_lines=True, expand=True)
    for prompt, answer in after.items():
        table.add_row(*(one_line(text) for text in (prompt, before[prompt], answer)))
    return table


def preferences(seconds: float) -> Table:
    """How the model ranks the held-out pairs before and after training.

    Before the first step the model is its own reference: every pair is a tie, which counts half.
    """
    rows = [row for row in records(DPO, "metrics.jsonl") if "eval_accuracy" in row]
    title = f"Held-out preference pairs, {rows[-1]['step']} steps ({seconds:.0f} s) apart"
    table = Table("", "before", "after", title=title)
    for name, key, form in (
        ("prefers the chosen answer (a tie counts half)", "eval_accuracy", ".0%"),
        ("DPO loss", "eval_loss", ".3f"),
        ("log-probability of a chosen answer, nats", "eval_logps_chosen", ".1f"),
        ("log-probability of a rejected answer, nats", "eval_logps_rejected", ".1f"),
    ):
        table.add_row(name, *(format(row[key], form) for row in (rows[0], rows[-1])))
    return table


def one_line(text: str) -> str:
    """Text without line breaks, safe from being read as rich markup."""
    return " ".join(text.split()).replace("[", "\\[")


def main() -> None:
    """Train twice and show what each run changed."""
    console.print(answers(anima(TEACH)))
    console.print(preferences(anima(PREFER)))
    program = PROGRAM.relative_to(ROOT) if PROGRAM.is_relative_to(ROOT) else PROGRAM
    console.print(
        f"\nThe runs lie in [bold]{SFT}[/bold] and [bold]{DPO}[/bold]. Ask the model yourself:\n\n"
        f'  {program} generate {DPO} --prompt "Who are you?"\n',
        highlight=False,
    )


if __name__ == "__main__":
    main()
