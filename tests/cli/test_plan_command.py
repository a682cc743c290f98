"""`anima plan` on a tiny model: the plan alone on standard output, and the promised exit codes."""

from __future__ import annotations

import json

import pytest

from anima_core.cli.main import main


@pytest.fixture
def plan(tiny_dir, capsys):
    def plan(*words, model=str(tiny_dir)):
        code = main(["plan", model, *map(str, words)])
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return plan


def test_a_plan_for_people(plan, sft_file):
    code, out, _ = plan(sft_file, "--plain", "--batch-size", 4)
    assert code == 0
    assert "12 completion examples" in out
    assert "anima-adapt" in out
    assert "3 (3 a pass over the data)" in out


def test_a_plan_for_machines(plan, sft_file):
    code, out, _ = plan(sft_file, "--json", "--steps", 7)
    told = json.loads(out)
    assert (code, told["steps"], told["data"]["examples"]) == (0, 7, 12)
    slots = {line["hook"]: line["strategy"] for line in told["slots"] if line["default"]}
    assert slots["loss"] == "sft"


def test_data_that_is_not_there_exits_3(plan, tmp_path):
    code, out, _ = plan(tmp_path / "none.jsonl")
    assert code == 3
    assert "none.jsonl" in out


def test_a_model_that_is_not_there_exits_2(plan, sft_file, tmp_path):
    code, out, err = plan(sft_file, model=str(tmp_path / "none"))
    assert (code, out) == (2, "")
    assert "none" in err


def test_a_bad_option_of_a_strategy_exits_2(plan, sft_file, distribute, good_strategy):
    distribute("fake-a", good_strategy, {"good": "Good"})
    code, out, err = plan(sft_file, "--good", "--good.beta", "-1")
    assert (code, out) == (2, "")
    assert "--good.beta: '-1' is not valid: expected greater than 0" in err
