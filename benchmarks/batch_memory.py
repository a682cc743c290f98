"""Does the memory of preference training grow with the examples a step? One pair is in flight.

The same pairs are trained on once at every batch size, in two ways: with the C library's allocator
as it is, which keeps freed blocks that do not fit the next micro-batch, and with large blocks given
back at once, so that the peak is what was needed at one time. glibc alone can be told to.

python benchmarks/batch_memory.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.machine import this_machine

ANIMA = (sys.executable, "-m", "anima_core")

ALLOWED = 1.1
"""Times the memory of the first batch size; what runs of one size differ by is less."""

GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_MMAP_MAX_": "1000000"}
"""Tells glibc to map each larger block by itself, and so to give it back when it is freed."""


def main() -> None:
    """Train on the same pairs at each batch size, print each peak, and fail where one grew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--pairs", type=int, default=32, help="trained on at every batch size")
    parser.add_argument("--words", type=int, default=120, help="of the prompt and of each answer")
    parser.add_argument("--strategy", default="dpo", help="whose loss learns from pairs")
    options = parser.parse_args()
    print(f"{this_machine().describe()}\n")
    print("| pairs a step | peak, MB | of the first | needed at one time, MB | of the first |")
    print("|---|---|---|---|---|", flush=True)
    peaks: dict[str, list[int]] = {"kept": [], "needed": []}
    with tempfile.TemporaryDirectory(prefix="anima-batch-memory-") as name:
        data = Path(name) / "pairs.jsonl"
        write(data, options.pairs, options.words)
        for size in options.batch_sizes:
            cells = [str(size)]
            for kind, environment in (("kept", {}), ("needed", GIVING_BACK)):
                run = Path(name) / f"{kind}-{size}"
                peaks[kind].append(peak(options, data, size, run, environment))
                cells.append(f"{peaks[kind][-1] / 1e6:,.0f}")
                cells.append(f"{peaks[kind][-1] / peaks[kind][0]:.2f}")
            print(f"| {' | '.join(cells)} |", flush=True)
    if max(peaks["needed"]) > ALLOWED * peaks["needed"][0]:
        sys.exit(f"what is needed grew with the batch size, to more than {ALLOWED} times")


def write(data: Path, count: int, words: int) -> None:
    """Pairs that differ, of like length."""
    letters = "abcdefghijklmnopqrstuvwxyz"

    def text(number: int, shift: int) -> str:
        return f"{number} " + " ".join(letters[(number + shift + i) % 26] for i in range(words))

    with data.open("w", encoding="utf-8") as file:
        for number in range(count):
            pair = {"prompt": text(number, 0), "chosen": text(number, 3)}
            file.write(json.dumps(pair | {"rejected": text(number, 5)}) + "\n")


def peak(
    options: argparse.Namespace, data: Path, size: int, run: Path, environment: dict[str, str]
) -> int:
    """Bytes of a run's peak, as it records it."""
    command = [*ANIMA, "train", options.model, str(data), f"--{options.strategy}", "--lora"]
    command += ["--xentropy", "--micro-tokens", "1", "--epochs", "1", "--batch-size", str(size)]
    command += ["--output", str(run)]
    around = os.environ | environment
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=around)
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    return max(int(row["memory_bytes"]) for row in rows if "memory_bytes" in row)


if __name__ == "__main__":
    main()
