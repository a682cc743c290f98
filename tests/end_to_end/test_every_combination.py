"""Every legal combination of strategies trains; every pair that answers one slot is refused."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest

import anima_core
from anima_core import UsageError
from anima_core.registry.selection import select

ADAPT = ("full", "lora", "qlora")
LOSS = ("sft", "dpo")
OTHER_LOSS = ("orpo", "simpo", "cpo", "kto")
LOGPS = ("plain", "xentropy")
OPTIMIZER = ("adamw", "paged-adamw")
ATTENTION = ("sdpa", "flash-attention-2")
ROPE = (None, "rope-scaling")
ALTERNATIVES = (ADAPT, (*LOSS, *OTHER_LOSS), LOGPS, OPTIMIZER, ATTENTION)
COMBINATIONS = list(itertools.product(ADAPT, LOSS, LOGPS, OPTIMIZER, ATTENTION, ROPE))
# The other losses meet the kernels as dpo does (beside each one alone: tests/conformance).
EXTREMES = [
    (adapt, loss, *others)
    for loss in OTHER_LOSS
    for adapt, *others in (
        ("full", "plain", "adamw", "sdpa", None),
        ("lora", "xentropy", "adamw", "flash-attention-2", None),
        ("qlora", "xentropy", "paged-adamw", "flash-attention-2", "rope-scaling"),
    )
]


def test_there_are_96_combinations() -> None:
    assert len(COMBINATIONS) == 96


@pytest.mark.parametrize(
    "names", [*COMBINATIONS, *EXTREMES], ids=lambda names: "+".join(n or "-" for n in names)
)
def test_two_steps(
    names: tuple[str | None, ...],
    tiny_dir: Path,
    sft_file: Path,
    pairs_file: Path,
    feedback_file: Path,
    tmp_path: Path,
) -> None:
    strategies: dict[str, dict[str, object]] = {name: {} for name in names if name}
    if "rope-scaling" in strategies:
        strategies["rope-scaling"] = {"type": "yarn", "factor": 2.0}
    result = anima_core.adapt(
        tiny_dir,
        {"sft": sft_file, "kto": feedback_file}.get(str(names[1]), pairs_file),
        output=tmp_path / "run",
        strategies=strategies,
        steps=2,
        batch_size=4,
        micro_tokens=96,
        dtype="float32",
        learning_rate=1e-2,
    )
    metrics = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert result.steps == 2
    assert [row["step"] for row in metrics] == [1, 2]
    assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in metrics)
    if "dpo" in strategies:
        assert metrics[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    if "kto" in strategies:
        assert metrics[0]["loss"] == pytest.approx(0.5, abs=1e-4)
    assert metrics[1]["loss"] != metrics[0]["loss"]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    filled = {line["hook"]: line["strategy"] for line in manifest["plan"]["slots"]}
    adapt, loss, logps, optimizer, attention, rope = names
    assert filled["adapt_model"] == adapt
    assert filled["loss"] == loss
    assert filled["token_logps"] == logps
    assert filled["optimizer"] == optimizer
    assert filled["attention"] == attention
    assert filled.get("configure_model") == rope


PAIRS = [pair for names in ALTERNATIVES for pair in itertools.combinations(names, 2)]
PAIRS.append(("safetensors", "qlora"))


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_two_answers_to_one_slot_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(UsageError) as refused:
        select({name: {} for name in pair})
    for name in pair:
        assert name in str(refused.value)
    assert str(refused.value).count("0.1.0") == 2
