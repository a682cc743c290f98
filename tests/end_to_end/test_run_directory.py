"""The run directory: what it holds, and that it repeats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import anima_core
from anima_core.runs.reporter import SilentReporter

from .conftest import Anima, rows, trace


def test_holds_what_it_says_and_repeats(
    anima: Anima, tiny_dir: Path, pairs_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    anima(
        "train", tiny_dir, pairs_file, "--qlora", "--dpo", "--dpo.beta", "0.3", "--xentropy",
        "--rope-scaling", "--rope-scaling.type", "yarn", "--rope-scaling.factor", 2,
        "--steps", 3, "--batch-size", 4, "--save-every", 2, "--eval-data", pairs_file,
        "--eval-every", 2, "--sample-prompts", "Pick 3", "--sample-tokens", 4,
        "--dtype", "float32", "-o", run,
    )  # fmt: skip
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["state"] == "done"
    assert manifest["steps"] == 3
    assert manifest["argv"][0] == "train" or "train" in manifest["argv"]
    assert manifest["strategies"]["dpo"]["options"]["beta"] == 0.3
    assert manifest["strategies"]["qlora"]["distribution"] == "anima-adapt-qlora"
    assert manifest["versions"]["torch"].startswith("2.")
    steps = [r for r in rows(run / "metrics.jsonl") if "loss" in r]
    wanted = {
        "step", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second",
        "memory_bytes", "seconds", "accuracy", "margin",
    }  # fmt: skip
    assert all(wanted <= set(r) for r in steps)
    evaluations = [r for r in rows(run / "metrics.jsonl") if "eval_loss" in r]
    assert [r["step"] for r in evaluations] == [0, 2, 3]
    assert all("eval_accuracy" in r for r in evaluations)
    assert [r["step"] for r in rows(run / "samples.jsonl")] == [0, 2, 3]
    assert (run / "checkpoints/step-000002/COMPLETE").is_file()
    files = {p.name for p in (run / "adapter").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= files
    page = (run / "report.html").read_text()
    assert "dpo" in page
    assert "http" not in page.replace("http-equiv", "")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert "output" not in config
    assert Path(config["model"]).is_absolute()
    anima("train", "--config", run / "config.yaml", "-o", tmp_path / "again")
    assert trace(tmp_path / "again") == trace(run)
    assert rows(tmp_path / "again/samples.jsonl") == rows(run / "samples.jsonl")


def test_a_run_is_a_model_to_train_further_and_to_ask(
    anima: Anima, tiny_dir: Path, sft_file: Path, pairs_file: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    anima(
        "train", tiny_dir, sft_file, "--qlora", "--qlora.r", 4, "--rope-scaling",
        "--rope-scaling.factor", 2, "--rope-scaling.type", "linear", "--steps", 4,
        "--learning-rate", "3e-2", "--dtype", "float32", "-o", first,
    )  # fmt: skip
    anima(
        "train", first, pairs_file, "--dpo", "--steps", 1, "--dtype", "float32", "-o", second,
    )  # fmt: skip
    manifest = json.loads((second / "manifest.json").read_text())
    assert manifest["strategies"]["qlora"]["options"]["r"] == 4
    assert manifest["strategies"]["rope-scaling"]["options"]["factor"] == 2.0
    assert manifest["model"]["run"] == str(first)
    prompt = ("--prompt", "Say 4", "--max-new-tokens", 6, "--dtype", "float32")
    taught = anima("generate", first, *prompt)
    assert taught.stdout.strip()
    assert taught.stderr == ""
    assert taught.stdout != anima("generate", tiny_dir, *prompt).stdout
    assert anima("generate", first, *prompt).stdout == taught.stdout


def test_full_fine_tuning_writes_a_model_that_is_one(
    anima: Anima, tiny_dir: Path, sft_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    anima(
        "train", tiny_dir, sft_file, "--steps", 3, "--learning-rate", "1e-2", "-o", run,
        "--dtype", "float32",
    )  # fmt: skip
    assert (run / "model/model.safetensors").is_file()
    assert not (run / "adapter").exists()
    prompt = ("--prompt", "Say 4", "--max-new-tokens", 6, "--dtype", "float32")
    by_run = anima("generate", run, *prompt).stdout
    assert by_run == anima("generate", run / "model", *prompt).stdout
    assert by_run != anima("generate", tiny_dir, *prompt).stdout


def test_the_micro_batch_changes_neither_losses_nor_weights(
    tiny_dir: Path, sft_file: Path, tmp_path: Path
) -> None:
    traces = []
    for micro_tokens in (1, 100_000):
        run = tmp_path / str(micro_tokens)
        anima_core.adapt(
            tiny_dir, sft_file, output=run, strategies={"lora": {"dropout": 0.0}}, steps=4,
            batch_size=5, micro_tokens=micro_tokens, dtype="float32", learning_rate=1e-2,
            reporter=SilentReporter(),
        )  # fmt: skip
        traces.append(trace(run))
    for (_, one, norm_one), (_, many, norm_many) in zip(*traces, strict=True):
        assert one == pytest.approx(many, rel=1e-5)
        assert norm_one == pytest.approx(norm_many, rel=1e-4)


def test_a_cached_reference_gives_the_same_losses(
    tiny_dir: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANIMA_CACHE", str(tmp_path / "cache"))
    said: list[str] = []

    class Notes(SilentReporter):
        def note(self, text: str) -> None:
            said.append(text)

    def run(name: str, **options: object) -> list[tuple[int, float, float]]:
        anima_core.adapt(
            tiny_dir, pairs_file, output=tmp_path / name, strategies={"lora": {}, "dpo": {}},
            steps=3, batch_size=4, dtype="float32", reporter=Notes(), **options,
        )  # fmt: skip
        return trace(tmp_path / name)

    first = run("first")
    assert any("computed" in text for text in said)
    said.clear()
    assert run("second") == first
    assert any("cache" in text for text in said)
    said.clear()
    run("third", max_length=200)
    assert any("cache" in text for text in said), "a limit that cuts nothing changes no reference"
