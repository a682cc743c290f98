"""The examples of a comparison: a sample of a file, or synthetic ones of the same shape."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

Kind = Literal["sft", "dpo"]

WORDS = tuple("etaoinshrdlucmfwypvbgkjqxz")
SYNTHETIC = 1000


def write_examples(
    source: Path, count: int, seed: int, target: Path, fitting: Callable[[Path], list[int]]
) -> None:
    """Write the examples that both sides read: a sample of those that need no cutting.

    Args:
        source: a json file.
        count: how many: exactly what the run consumes, so both sides see each of them once.
        seed: of the sample.
        target: the file to write.
        fitting: row numbers of a file's records that fit into the maximum length.

    Raises:
        SystemExit: the file holds fewer.
    """
    rows = fitting(source)
    if len(rows) < count:
        raise SystemExit(f"{source} holds {len(rows)} records that fit; {count} are needed")
    held = json.loads(source.read_text(encoding="utf-8"))
    chosen = [held[row] for row in random.Random(seed).sample(rows, count)]
    target.write_text(json.dumps(chosen, ensure_ascii=False), encoding="utf-8")


def write_synthetic(kind: Kind, target: Path) -> None:
    """Write records of nonsense whose lengths are spread as those of written answers."""
    rng = random.Random(0)
    make = _alpaca if kind == "sft" else _pair
    rows = [make(rng) for _ in range(SYNTHETIC)]
    target.write_text(json.dumps(rows), encoding="utf-8")


def _text(rng: random.Random, median: int, longest: int) -> str:
    """Words, their number log-normal."""
    count = min(longest, max(3, round(rng.lognormvariate(0, 0.9) * median)))
    return " ".join(rng.choice(WORDS) for _ in range(count))


def _alpaca(rng: random.Random) -> dict[str, Any]:
    return {
        "instruction": _text(rng, 15, 60),
        "input": _text(rng, 20, 100) if rng.random() < 0.4 else "",
        "output": _text(rng, 90, 400),
    }


def _pair(rng: random.Random) -> dict[str, Any]:
    turns = [{"from": "human", "value": _text(rng, 60, 300)}]
    for _ in range(rng.choice((0, 0, 1, 2))):
        turns.append({"from": "gpt", "value": _text(rng, 150, 300)})
        turns.append({"from": "human", "value": _text(rng, 30, 100)})
    return {
        "conversations": turns,
        "chosen": {"from": "gpt", "value": _text(rng, 250, 600)},
        "rejected": {"from": "gpt", "value": _text(rng, 200, 600)},
    }
