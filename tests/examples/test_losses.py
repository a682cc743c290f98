"""The example distribution of losses, installed as a third party's wheel and used."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from overlay import ROOT, Overlay

LOSSES = ROOT / "examples" / "losses"


@pytest.fixture(scope="module")
def installed(new_overlay: Callable[[bool], Overlay]) -> Overlay:
    """An environment with the core, the bundled plugins and the example losses."""
    made = new_overlay(True)
    made.install(LOSSES)
    return made


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from anima_core.testing import save_tiny

    return save_tiny(tmp_path_factory.mktemp("teacher") / "big", "qwen3", seed=5)


@pytest.fixture
def base(tiny_dir: Path, sft_file: Path, tmp_path: Path) -> tuple[object, ...]:
    return ("train", tiny_dir, sft_file, "--dtype", "float32", "-o", tmp_path / "run")


def steps(run: Path) -> list[dict[str, Any]]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [row for row in rows if "loss" in row]


def words(*parts: object) -> list[str]:
    return [str(part) for part in parts]


def test_its_own_tests_pass_where_it_is_installed(installed: Overlay, tmp_path: Path) -> None:
    folder = tmp_path / "losses"
    (folder / "tests").mkdir(parents=True)
    (folder / "pyproject.toml").write_bytes((LOSSES / "pyproject.toml").read_bytes())
    for file in (LOSSES / "tests").glob("*.py"):
        (folder / "tests" / file.name).write_bytes(file.read_bytes())
    done = installed.run("python", "-m", "pytest", "-q", cwd=folder)
    assert "passed" in done.stdout or "100%" in done.stdout


def test_it_stays_out_of_the_workspace_and_imports_public_names_only() -> None:
    import anima_core

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert not any("examples" in member for member in project["tool"]["uv"]["workspace"]["members"])
    files = sorted((LOSSES / "anima_example_losses").rglob("*.py"))
    assert len(files) > 5
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) anima_core\.", text, re.MULTILINE), file
        used = set(re.findall(r"(?<!/)\banima_core\.(\w+)", text))
        assert used <= set(anima_core.__all__), (file, used)


def test_focal_trains(installed: Overlay, base: tuple[object, ...], tmp_path: Path) -> None:
    installed.anima(*words(*base, "--focal", "--steps", 2))
    taken = steps(tmp_path / "run")
    assert len(taken) == 2
    assert all({"nll", "focal_weight", "confident"} <= row.keys() for row in taken)
    assert all(row["loss"] < row["nll"] for row in taken)


def test_distill_trains_with_a_kernel_and_an_adapter(
    installed: Overlay, base: tuple[object, ...], teacher: Path, sft_file: Path, tmp_path: Path
) -> None:
    flags = words(
        "--distill", "--distill.teacher", teacher, "--distill.alpha", 1, "--xentropy", "--lora",
        "--steps", 8, "--learning-rate", 0.02, "--warmup", 0, "--eval-data", sft_file,
    )  # fmt: skip
    installed.anima(*words(*base), *flags)
    taken = steps(tmp_path / "run")
    assert len(taken) == 8
    assert all({"kl", "nll", "agreement", "teacher_topk"} <= row.keys() for row in taken)
    assert taken[-1]["kl"] < taken[0]["kl"]
    assert all(row["loss"] == pytest.approx(row["kl"], rel=1e-4) for row in taken)
    held_out = [
        row
        for row in map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
        if "eval_loss" in row
    ]
    assert held_out[-1]["eval_kl"] < held_out[0]["eval_kl"]
    assert (tmp_path / "run" / "adapter").is_dir()


def test_neither_kernel_nor_attention_nor_the_cut_changes_what_is_learnt(
    installed: Overlay, tiny_dir: Path, teacher: Path, sft_file: Path, tmp_path: Path
) -> None:
    traces = {}
    chunked = ["--xentropy", "--xentropy.chunk-vocab", 50, "--distill.chunk-tokens", 3]
    for name, flags in {
        "plain": [],
        "other": [*chunked, "--micro-tokens", 64, "--flash-attention-2"],
    }.items():
        run = tmp_path / name
        installed.anima(
            *words("train", tiny_dir, sft_file, "--dtype", "float32", "-o", run, "--steps", 2),
            *words("--distill", "--distill.teacher", teacher, "--distill.k", 5, *flags),
        )
        traces[name] = [value for row in steps(run) for value in (row["loss"], row["grad_norm"])]
    assert traces["other"] == pytest.approx(traces["plain"], rel=1e-3)


def test_a_run_is_resumed_with_its_teacher(
    installed: Overlay, tiny_dir: Path, teacher: Path, sft_file: Path, tmp_path: Path
) -> None:
    """The teacher is loaded in a step's forward pass, and leaves that step's dropout alone."""
    run = tmp_path / "run"

    def train(*flags: object) -> list[tuple[float, ...]]:
        installed.anima(
            *words("train", tiny_dir, sft_file, "--dtype", "float32", "-o", run, "--save-every", 1),
            *words("--distill", "--distill.teacher", teacher, "--lora", "--lora.dropout", 0.3),
            *words("--batch-size", 4, "--steps", 3, *flags),
        )
        return [(row["step"], row["loss"], row["grad_norm"]) for row in steps(run)]

    whole = train()
    for later in sorted((run / "checkpoints").iterdir())[1:]:
        shutil.rmtree(later)
    assert train("--resume") == whole


def refused(installed: Overlay, *parts: object) -> str:
    done = installed.anima(*words(*parts), code=2)
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_a_teacher_with_another_vocabulary_is_refused_before_any_weight_is_read(
    installed: Overlay, base: tuple[object, ...], teacher: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(teacher, tmp_path / "other"))
    text = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = text["model"]["vocab"]
    vocab["aa"] = vocab.pop("a")
    (other / "tokenizer.json").write_text(json.dumps(text), encoding="utf-8")
    for weights in other.glob("*.safetensors"):
        weights.write_bytes(b"not to be read")
    said = refused(installed, *base, "--distill", "--distill.teacher", other, "--steps", 1)
    assert "--distill.teacher" in said
    assert "another vocabulary" in said
    assert not (tmp_path / "run").exists()


def test_distill_without_a_teacher_says_what_is_missing(
    installed: Overlay, base: tuple[object, ...], tmp_path: Path
) -> None:
    assert "--distill.teacher" in refused(installed, *base, "--distill", "--steps", 1)
    assert not (tmp_path / "run").exists()


def test_two_losses_are_refused_by_name(
    installed: Overlay, base: tuple[object, ...], tmp_path: Path
) -> None:
    said = refused(installed, *base, "--focal", "--dpo", "--steps", 1)
    assert "focal (from anima-example-losses 0.1.0)" in said
    assert "dpo (from anima-adapt-dpo 0.1.0)" in said
    assert not (tmp_path / "run").exists()


def test_it_is_listed_with_where_it_comes_from(installed: Overlay) -> None:
    rows = installed.anima("plugins", "list").stdout.splitlines()
    for name in ("focal", "distill"):
        assert any(name in row and "anima-example-losses" in row for row in rows), rows
