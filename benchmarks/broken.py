"""How long a large file with broken records takes to be refused with all of them, and in what.

    python benchmarks/broken.py

Writes 200,000 records, 50 of them broken in 10 ways, and has `anima plan` report them. Ends with 1
if one of the 50 is not named.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

from harness.machine import this_machine
from harness.process import run

BROKEN = 50
GOOD = '{"prompt": "What is %d and %d?", "completion": "It is %d, of course, whoever asks."}'
WAYS = (
    b'{"prompt": "a" "completion": "b"}',
    b'{"prompt": "a", "completion": "b',
    b'{"prompt": "a"}',
    b'{"prompt": 3, "completion": "b"}',
    b'{"prompt": "caf\xe9", "completion": "b"}',
    b'{"prompt": "a\0", "completion": "b"}',
    b'["a", "b"]',
    b'{"messages": [{"role": "user", "content": "a"}]}',
    b'{"messages": [{"role": "robot", "content": "a"}]}',
    b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}',
)


def main() -> None:
    """Write, refuse, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--model", default="demo", help="whose tokenizer to take")
    options = parser.parse_args()
    every = options.records // BROKEN
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data.jsonl"
        write(data, options.records, every)
        # A shell turns the exit code that is hoped for into 0, and others into 1.
        command = 'anima plan "$0" "$1"; test $? -eq 3'
        line = ["sh", "-c", command, options.model, str(data)]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        finished = run(line, folder / "log", {"PATH": path})
        named = places((folder / "log").read_text(encoding="utf-8"), str(data))
    wanted = {every * number for number in range(1, BROKEN + 1)}
    print(this_machine().describe())
    print(
        f"{options.records:,} records, {len(named & wanted)} of {BROKEN} broken ones named: "
        f"{finished.seconds:.1f} s, {finished.peak_bytes / 2**20:.0f} MiB"
    )
    raise SystemExit(named != wanted)


def write(target: Path, count: int, every: int) -> None:
    """Write good records, and a broken one after each so many."""
    with target.open("wb") as stream:
        for number in range(1, count + 1):
            if number % every:
                row = (GOOD % (number, number + 1, 2 * number + 1)).encode()
            else:
                row = WAYS[number // every % len(WAYS)]
            stream.write(row + b"\n")


def places(told: str, source: str) -> set[int]:
    """The lines that a message names."""
    lines = [line.strip() for line in told.splitlines()]
    listed = [line.removeprefix(f"{source}:") for line in lines if line.startswith(f"{source}:")]
    return {int(n) for line in listed for n in re.findall(r"(\d+)(?::\d+)?", line)}


if __name__ == "__main__":
    main()
