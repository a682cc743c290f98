"""Two processes give what one gives: losses, metrics, weights; and they stop as one."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import anima_core
from anima_core.testing import save_tiny

from .conftest import rows
from .test_resume import wait_for_step

COMMON = {"batch_size": 5, "micro_tokens": 64, "learning_rate": 1e-2, "dtype": "float32"}
LONG = 60


def torchrun(*words: object) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc-per-node", "2", *map(str, words)]


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", "ANIMA_CACHE": str(cache)}


def jobs(
    tiny: Path, untied: Path, sft: Path, pairs: Path, other: Path
) -> dict[str, dict[str, Any]]:
    """The runs to make, by name; each goes to a folder of that name."""

    def job(strategies: dict[str, Any], data: Path = sft, **options: Any) -> dict[str, Any]:
        extra = {k: options.pop(k) for k in ("kill", "data_of_others") if k in options}
        whole = {**COMMON, "model": str(tiny), "data": str(data), **options}
        return {"strategies": strategies, "options": whole, **extra}

    watched = {
        "steps": 6, "save_every": 4, "eval_data": [str(other)], "eval_every": 3,
        "sample_prompts": ["Say 3"], "sample_tokens": 3,
    }  # fmt: skip
    dpo = {"steps": 6, "batch_size": 3, "eval_data": [str(pairs)]}
    return {
        # 12 examples in batches of 5, 5, 2, cut to unequal numbers of micro-batches
        "sft": job({"lora": {}}, **watched),
        "dpo": job({"lora": {}, "dpo": {"beta": 0.5}}, pairs, **dpo),
        "qlora": job(
            {"qlora": {}, "dpo": {"beta": 0.5}, "xentropy": {}, "paged-adamw": {}}, pairs, **dpo
        ),
        # its shift is the mean reward of the steps before, of all processes
        "bco": job({"lora": {}, "dpo": {"loss": "bco_pair", "beta": 0.5}}, pairs, **dpo),
        # batches of 11 and 1: one process has no example in every second step
        "full": job({"full": {}}, batch_size=11, steps=4, learning_rate=1e-3),
        # its output projection is trained and has no part in the loss
        "reward": job(
            {"full": {}, "reward": {}}, pairs, **dpo, model=str(untied), learning_rate=1e-3
        ),
        "stopped": job({"lora": {}}, **watched, kill=True),
        "resumed": job({"lora": {}}, **watched, resume=True),
        "diverged": job({"full": {}}, learning_rate=1e30, warmup=0, max_grad_norm=0, steps=20),
        "differing": job({"lora": {}}, steps=1, data_of_others=str(other)),
    }


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parallel")


@pytest.fixture(scope="module")
def wanted(work: Path, tiny_dir: Path, sft_file: Path, pairs_file: Path) -> dict[str, Any]:
    # One held-out example more than the processes can share evenly; the first is the longest.
    other = work / "other.jsonl"
    lines = [{"prompt": f"Tell {n}", "completion": "two " * (9 - n)} for n in range(7)]
    other.write_text("".join(json.dumps(line) + "\n" for line in lines))
    untied = save_tiny(work / "untied", tie_word_embeddings=False)
    return jobs(tiny_dir, untied, sft_file, pairs_file, other)


@pytest.fixture(scope="module")
def told(work: Path, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """What two processes say of every job."""
    folders = {"resumed": "stopped"}
    given = {
        name: {**job, "options": {**job["options"], "output": str(work / folders.get(name, name))}}
        for name, job in wanted.items()
    }
    (work / "jobs.json").write_text(json.dumps(given))
    script = Path(__file__).with_name("data_parallel_script.py")
    done = subprocess.run(
        torchrun(script, work / "jobs.json", work),
        env=environment(work / "cache"),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((work / f"rank-{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture
def alone(wanted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """One of the jobs in this process alone, with a cache of its own; its folder."""

    def alone(name: str) -> Path:
        monkeypatch.setenv("ANIMA_CACHE", str(tmp_path / "cache"))
        job = wanted[name]
        anima_core.adapt(**job["options"], strategies=job["strategies"], output=tmp_path / name)
        return tmp_path / name

    return alone


TIMINGS = {"seconds", "tokens_per_second", "memory_bytes"}


def assert_same_run(two: Path, one: Path) -> None:
    """The same records, and the same weights, to rounding."""
    theirs, ours = rows(two / "metrics.jsonl"), rows(one / "metrics.jsonl")
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        assert list(a) == list(b)
        for key in set(b) - TIMINGS:
            assert a[key] == pytest.approx(b[key], rel=1e-5, abs=1e-6), (a["step"], key)
    (file,) = (p for p in one.glob("*/*.safetensors"))
    got, want = load_file(two / file.relative_to(one)), load_file(file)
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("name", ["sft", "dpo", "qlora", "bco", "full", "reward"])
def test_two_processes_give_what_one_gives(
    name: str, work: Path, told: list[dict[str, Any]], alone: Any
) -> None:
    one = alone(name)
    assert told[0][name] == told[1][name]
    assert_same_run(work / name, one)
    assert json.loads((work / name / "manifest.json").read_text())["processes"] == 2
    assert {p.name for p in (work / name).iterdir()} == {p.name for p in one.iterdir()}
    if (one / "samples.jsonl").exists():
        assert rows(work / name / "samples.jsonl") == rows(one / "samples.jsonl")


def test_a_signal_to_one_process_stops_all_with_a_checkpoint(
    work: Path, told: list[dict[str, Any]], alone: Any
) -> None:
    for rank in told:
        assert rank["stopped"]["raised"] == "InterruptedRunError"
        assert rank["stopped"]["exit_code"] == 143
        assert "a checkpoint was saved" in rank["stopped"]["said"]
        assert rank["resumed"]["steps"] == 6
    # and resumed from it, in the same processes
    assert told[0]["resumed"] == told[1]["resumed"]
    assert (work / "stopped" / "checkpoints" / "step-000004" / "COMPLETE").is_file()
    assert_same_run(work / "stopped", alone("sft"))


def test_divergence_stops_all(work: Path, told: list[dict[str, Any]]) -> None:
    assert told[0]["diverged"] == told[1]["diverged"]
    assert told[0]["diverged"]["exit_code"] == 5
    assert '"state": "diverged"' in (work / "diverged" / "manifest.json").read_text()


def test_processes_with_different_data_are_refused(work: Path, told: list[dict[str, Any]]) -> None:
    for rank in told:
        assert rank["differing"]["raised"] == "UsageError"
        assert "the same data" in rank["differing"]["said"]
        assert rank["differing"]["shared"]
    assert not (work / "differing").exists()


def test_what_processes_say_to_each_other(told: list[dict[str, Any]]) -> None:
    zero, one = (rank["talk"] for rank in told)
    assert zero["heard"] == one["heard"] == [[0, math.inf, ""], [1, math.inf, "x"]]
    assert zero["from_main"] == one["from_main"] == "main"
    assert (zero["did"], one["did"]) == ([0], [])
    assert (zero["first_here"], one["first_here"]) == (0, 1)
    assert one["said"] == [["DataError", "data:1: no such line\n  Look."], ["OSError", "disk full"]]
    assert zero["said"] == [
        ["DataError", "data:1: in process 1: no such line\n  Look."],
        ["AnimaError", "in process 1: OSError: disk full"],
    ]


def test_sigterm_to_the_launcher_stops_with_a_checkpoint_that_one_process_resumes(
    tiny_dir: Path, sft_file: Path, tmp_path: Path
) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    common = {**COMMON, "learning_rate": 1e-3}  # rounding grows with every step
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in common.items()]
    process = subprocess.Popen(
        torchrun("-m", "anima_core", "train", tiny_dir, sft_file, "--lora", *flags, "--steps", LONG,
                 "-o", broken),
        env=environment(tmp_path / "cache"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    wait_for_step(broken, 2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode
    assert said.count("Plan for") == 1
    assert said.count("with --resume to go on") == 1
    assert "defect" not in said
    assert json.loads((broken / "manifest.json").read_text())["state"] == "interrupted"
    done = len(rows(broken / "metrics.jsonl"))
    assert 2 <= done < LONG
    assert (broken / "checkpoints" / f"step-{done:06d}" / "COMPLETE").is_file()
    options = {**common, "strategies": {"lora": {}}, "steps": LONG}
    anima_core.adapt(tiny_dir, sft_file, output=broken, resume=True, **options)
    anima_core.adapt(tiny_dir, sft_file, output=whole, **options)
    assert_same_run(broken, whole)
