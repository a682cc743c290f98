"""How long the command line takes to answer: whole processes, in turns, medians.

python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from harness.machine import this_machine


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=11, help="of each command")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="with Anima")
    options = parser.parse_args()
    anima = str(options.python.parent / "anima")
    commands = {
        "anima --help": [anima, "--help"],
        "anima plugins list": [anima, "plugins", "list"],
        "anima train --help": [anima, "train", "--help"],
        'python -c "import typer"': [str(options.python), "-c", "import typer"],
        "python -c pass": [str(options.python), "-c", "pass"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(options.runs + 1):
        for name, command in commands.items():
            taken = once(command)
            if turn:  # The first turn fills the disk cache and writes the byte code.
                seconds[name].append(taken)
    print(f"{this_machine().describe()}; median of {options.runs} runs (fastest)\n")
    print("| | s |\n|---|---|")
    for name, values in seconds.items():
        print(f"| `{name}` | {median(values):.2f} ({min(values):.2f}) |")


def once(command: list[str]) -> float:
    """Wall time of one whole process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
