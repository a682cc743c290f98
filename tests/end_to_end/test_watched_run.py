"""A run whose metrics are watched: what is told on the screen, kept, and not told again."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Anima, rows

STEPS, BATCH = 53, 22
"""A few more than it takes to call an accuracy chance (`anima_dpo.watching`)."""


def test_a_run_that_learns_nothing_says_so_once(
    anima: Anima, tiny_dir: Path, tmp_path: Path
) -> None:
    pairs, held_out, run = tmp_path / "pairs.jsonl", tmp_path / "held-out.jsonl", tmp_path / "run"
    for file, first, count in ((pairs, 0, 3 * BATCH), (held_out, 100, 6)):
        records = (
            {"prompt": f"Pick {n}", "chosen": f"yes {n}", "rejected": f"no {n}"}
            for n in range(first, first + count)
        )
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
    words = [
        "train", tiny_dir, pairs, "--lora", "--dpo", "--learning-rate", "1e-12", "--warmup", 1,
        "--steps", STEPS, "--batch-size", BATCH, "--eval-data", held_out, "--dtype", "float32",
        "--save-every", STEPS - 1, "-o", run,
    ]  # fmt: skip

    done = anima(*words)

    manifest = json.loads((run / "manifest.json").read_text())
    (warning,) = manifest["warnings"]
    assert "accuracy is at chance: 0.50" in warning["text"]
    assert "--learning-rate" in warning["text"]
    assert done.stderr.count("warning: accuracy is at chance") == 1
    assert warning["text"] in (run / "report.html").read_text().replace("&#x27;", "'")
    steps = [row for row in rows(run / "metrics.jsonl") if "loss" in row]
    assert {row["accuracy"] for row in steps} == {0.5}, "a model that has not moved only ties"
    assert "held-out data, before → after: loss 0.6931 → 0.6931, accuracy 0.5 → 0.5" in done.stderr
    assert "rewards_chosen" in steps[-1]
    assert "rewards_chosen" not in done.stderr, "the screen shows the headline alone"

    again = anima(*words, "--resume")
    assert "accuracy is at chance" not in again.stderr
    assert "resumed after step 52" in again.stderr
    assert json.loads((run / "manifest.json").read_text())["warnings"] == [warning]
