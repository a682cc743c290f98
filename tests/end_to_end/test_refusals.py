"""What cannot work is refused with a reason, an exit code, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Anima, rows


@pytest.fixture
def base(tiny_dir: Path, sft_file: Path) -> tuple[object, ...]:
    return ("train", tiny_dir, sft_file, "--steps", 1, "--dtype", "float32")


def refused(anima: Anima, code: int, *words: object) -> str:
    done = anima(*words, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_unknown_option_names_the_nearest(anima: Anima, base: tuple[object, ...]) -> None:
    assert "--batch-size" in refused(anima, 2, *base, "--bach-size", 4)


def test_unknown_strategy_names_the_nearest(anima: Anima, base: tuple[object, ...]) -> None:
    assert "--qlora" in refused(anima, 2, *base, "--qlroa")


def test_option_of_a_strategy_that_is_not_selected(anima: Anima, base: tuple[object, ...]) -> None:
    said = refused(anima, 2, *base, "--dpo.beta", "0.2")
    assert "add --dpo" in said.lower()


def test_two_strategies_for_one_slot(
    anima: Anima, base: tuple[object, ...], tmp_path: Path
) -> None:
    said = refused(anima, 2, *base, "--lora", "--qlora", "-o", tmp_path / "run")
    assert "lora (from anima-adapt-qlora 0.1.0)" in said
    assert "qlora (from anima-adapt-qlora 0.1.0)" in said
    assert not (tmp_path / "run").exists()


def test_model_that_is_not_there(anima: Anima, sft_file: Path, tmp_path: Path) -> None:
    said = refused(anima, 2, "train", tmp_path / "none", sft_file, "-o", tmp_path / "run")
    assert "none" in said
    assert not (tmp_path / "run").exists()


def test_data_that_is_not_there(anima: Anima, tiny_dir: Path, tmp_path: Path) -> None:
    said = refused(anima, 3, "train", tiny_dir, tmp_path / "none.jsonl", "-o", tmp_path / "run")
    assert "none.jsonl" in said
    assert not (tmp_path / "run").exists()


def test_malformed_record_is_named_by_its_line(
    anima: Anima, tiny_dir: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"\n')
    said = refused(anima, 3, "train", tiny_dir, data, "-o", tmp_path / "run")
    assert "data.jsonl:2" in said


def test_missing_field_is_named(anima: Anima, tiny_dir: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "kompletion": "b"}\n')
    said = refused(anima, 3, "train", tiny_dir, data, "-o", tmp_path / "run")
    assert "data.jsonl:2" in said
    assert "completion" in said


def test_no_trainable_example(anima: Anima, tiny_dir: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("")
    assert "data.jsonl" in refused(anima, 3, "train", tiny_dir, data, "-o", tmp_path / "run")


def test_existing_output(anima: Anima, base: tuple[object, ...], tmp_path: Path) -> None:
    run = tmp_path / "run"
    anima(*base, "--lora", "-o", run)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    said = refused(anima, 2, *base, "--lora", "-o", run)
    assert "--resume" in said
    assert "--overwrite" in said
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    anima(*base, "--lora", "-o", run, "--overwrite", "--steps", 2)
    assert len(rows(run / "metrics.jsonl")) == 2


def test_a_folder_that_is_no_run_is_never_replaced(
    anima: Anima, base: tuple[object, ...], tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    refused(anima, 2, *base, "-o", mine, "--overwrite")
    assert (mine / "thesis.txt").read_text() == "years"


def test_divergence_stops_before_the_step_is_taken(
    anima: Anima, base: tuple[object, ...], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    said = refused(
        anima, 5, *base, "--learning-rate", "1e30", "--steps", 20, "-o", run, "--warmup", 0,
        "--max-grad-norm", 0,
    )  # fmt: skip
    assert "step" in said
    assert '"state": "diverged"' in (run / "manifest.json").read_text()


def test_overlong_is_an_error_by_default(anima: Anima, base: tuple[object, ...]) -> None:
    said = refused(anima, 3, *base, "--max-length", 8, "-o", "nowhere")
    assert "--max-length" in said
    assert not Path("nowhere").exists()


def test_plan_reports_every_problem_at_once(anima: Anima, tiny_dir: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "x").touch()
    done = anima("plan", tiny_dir, tmp_path / "none.jsonl", "-o", mine, check=False)
    assert done.returncode in {2, 3}
    assert "none.jsonl" in done.stdout
    assert "mine" in done.stdout


def test_a_run_file_s_learning_rate_is_not_taken_over_by_another_loss(
    anima: Anima, base: tuple[object, ...], tiny_dir: Path, pairs_file: Path, tmp_path: Path
) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    anima(*base, "--lora", "-o", run)
    config = run / "config.yaml"
    words = ("train", "--config", config, tiny_dir, pairs_file, "--dpo", "-o", again)
    said = refused(anima, 2, *words)
    assert "--learning-rate" in said
    assert not again.exists()
    anima(*words, "--learning-rate", "none")
    assert rows(again / "metrics.jsonl")[0]["learning_rate"] <= 5e-6
