"""How long many records take to become tokens, and how much memory: encoded, then from the cache.

python benchmarks/prepare.py --records 1000000
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from harness.machine import this_machine

SEED = 1
WORDS = 20_000


def main() -> None:
    """Write records, prepare them in processes of their own, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--model", default="demo", help="whose tokenizer encodes")
    parser.add_argument("--no-single", action="store_true", help="leave out the run on one core")
    parser.add_argument("--child", choices=("all", "one"), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(prepare(options.data, options.model, options.child)))
        return
    with tempfile.TemporaryDirectory(prefix="anima-prepare-") as name:
        measure(Path(name), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Prepare the same records several times."""
    data = folder / "records.jsonl"
    write(data, options.records)
    print(f"{this_machine().describe()}; {options.records:,} records, {size(data)} MB of jsonl\n")
    print("| | seconds | records/s | tokens | peak RSS, MB | in the cache, MB |")
    print("|---|---|---|---|---|---|")
    runs = [("all cores", "all", "a"), ("from the cache", "all", "a")]
    runs += [] if options.no_single else [("one process", "one", "b")]
    seconds = {}
    for what, child, cache in runs:
        ran = once(folder / cache, data, options.model, child)
        seconds[what] = ran.seconds
        print(
            f"| {what} | {ran.seconds:.1f} | {options.records / ran.seconds:,.0f} | "
            f"{ran.tokens:,} | {ran.peak / 1e6:,.0f} | {size(folder / cache / 'tokens')} |",
            flush=True,
        )
    if "one process" in seconds:
        print(f"\none process / all cores: {seconds['one process'] / seconds['all cores']:.2f}")


@dataclass
class Ran:
    """What a run took: without imports and the tokenizer's loading, memory of all processes."""

    seconds: float
    tokens: int
    peak: int


def once(cache: Path, data: Path, model: str, child: str) -> Ran:
    """Prepare the records in a process of its own, and watch it and its processes."""
    from anima_core.cache import cache_root

    gguf = cache_root() / "gguf"  # a model that was unpacked before need not be again
    cache.mkdir(exist_ok=True)
    if gguf.is_dir() and not (cache / "gguf").exists():
        (cache / "gguf").symlink_to(gguf)
    command = [sys.executable, __file__, "--child", child, "--data", str(data), "--model", model]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "ANIMA_CACHE": str(cache)}, text=True
    )
    peak = [0]
    watcher = threading.Thread(target=watch, args=(process.pid, peak), daemon=True)
    watcher.start()
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    told = json.loads(output.splitlines()[-1])
    return Ran(told["seconds"], told["tokens"], peak[0])


def watch(pid: int, peak: list[int]) -> None:
    """Resident memory of a process and of all that it started, looked at ten times a second."""
    try:
        parent = psutil.Process(pid)
        while parent.is_running():
            peak[0] = max(peak[0], sum(map(resident, [parent, *parent.children(recursive=True)])))
            time.sleep(0.1)
    except psutil.NoSuchProcess:
        return


def resident(process: psutil.Process) -> int:
    """Bytes; nothing for one that has just ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def prepare(data: Path, model: str, cores: str) -> dict[str, Any]:
    """What a run does with its data before it trains."""
    from transformers import AutoTokenizer

    from anima_core.data import parallel
    from anima_core.data.dataset import load_sources
    from anima_core.data.handling import Handling
    from anima_core.data.intake import Source
    from anima_core.data.read import read_sources
    from anima_core.model.folder import model_folder
    from anima_core.model.resolve import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(model_folder(resolve_model(model), weights=False))
    if cores == "one":
        parallel.cores = lambda: 1
    start = time.perf_counter()
    examples, summary = load_sources(
        [Source(str(data), lambda: read_sources([str(data)]), (str(data),))],
        tokenizer,
        kind="completion",
        limit=8192,
        overlong="error",
        handling=Handling(),
        cache=True,
        note=lambda text: print(text, file=sys.stderr),
        progress=lambda _: None,
    )
    columns = examples.columns
    assert len(columns.digest) == len(columns.group) == len(columns.ends) == summary.examples
    return {"seconds": time.perf_counter() - start, "tokens": summary.tokens}


def write(path: Path, count: int) -> None:
    """Write records of about an Alpaca record's size, of words made on the spot."""
    draw = random.Random(SEED)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(WORDS)]

    def text(least: int, most: int) -> str:
        return " ".join(draw.choices(words, k=draw.randint(least, most)))

    def rows() -> Iterator[dict[str, str]]:
        for number in range(count):
            given = text(3, 12) if number % 5 < 2 else ""
            yield {"instruction": text(3, 10), "input": given, "output": text(4, 40)}

    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows())


def size(path: Path) -> int:
    """Megabytes of a file, or of a folder's files."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return round(sum(file.stat().st_size for file in files) / 1e6)


if __name__ == "__main__":
    main()
