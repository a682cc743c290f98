"""A run that uses none of them works as if they were not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Crowd
from .distributions import EVERYONE, SHADOW_LORA

UNUSED = [party for party in EVERYONE if party is not SHADOW_LORA]


@pytest.fixture(scope="module")
def run(crowd: Crowd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the defaults; nobody else is in its plan, its manifest or its output."""
    output = tmp_path_factory.mktemp("runs") / "run"
    said = crowd.run(output, "--anima-adapt-qlora:lora", "--xentropy", cold=True)
    for party in UNUSED:
        assert party.name not in said
    return output


def test_a_run_is_done(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["state"] == "done"
    taken = {s["distribution"] for s in manifest["strategies"].values()}
    assert taken == {"anima-adapt", "anima-adapt-qlora", "anima-adapt-longctx"}
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    assert (run / "adapter" / "adapter_config.json").is_file()


def test_an_answer_is_given_by_the_adapter_s_own_distribution(crowd: Crowd, run: Path) -> None:
    """The run knows whose `lora` made its adapter, though another distribution offers one."""
    words = ("--prompt", "Say 1", "--max-new-tokens", 2, "--dtype", "float32")
    crowd.anima("generate", run, *words)


def test_a_run_goes_on_from_it_and_is_repeated(crowd: Crowd, run: Path, tmp_path: Path) -> None:
    given = ("--steps", 1, "--batch-size", 4, "--dtype", "float32")
    crowd.anima("train", run, crowd.data, *given, "-o", tmp_path / "further")
    manifest = json.loads((tmp_path / "further" / "manifest.json").read_text())
    assert manifest["strategies"]["lora"]["distribution"] == "anima-adapt-qlora"

    crowd.anima("train", "--config", run / "config.yaml", "-o", tmp_path / "again")
    rows = [(tmp_path / "again" / "metrics.jsonl"), run / "metrics.jsonl"]
    losses = [[json.loads(line)["loss"] for line in row.read_text().splitlines()] for row in rows]
    assert losses[0] == losses[1]


def test_a_plan_is_made(crowd: Crowd) -> None:
    plan = crowd.json("plan", crowd.model, crowd.pairs, "--dpo", "--dtype", "float32")
    assert {slot["distribution"] for slot in plan["slots"]} <= {"anima-adapt", "anima-adapt-dpo"}
    said = crowd.anima("plan", crowd.model, crowd.data, "--dtype", "float32")[0]
    assert not any(party.name in said for party in EVERYONE)


def test_the_core_s_options_keep_their_names(crowd: Crowd) -> None:
    """A strategy is called `steps`; `--steps` is the core's all the same."""
    plan = crowd.json("plan", crowd.model, crowd.data, "--steps", 7, "--dtype", "float32")
    assert plan["steps"] == 7


def test_the_help_is_whole(crowd: Crowd) -> None:
    said = crowd.anima("train", "--help")[0]
    for words in ("--steps INTEGER", "--third-twin-a:twin", "--third-twin-b:twin", "--dpo "):
        assert words in said
    assert "--Loud" not in said
    for line in ("--help", "plan --help", "generate --help", "plugins --help"):
        crowd.anima(*line.split())
