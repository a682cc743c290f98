"""The options of the data, from the command line to the plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anima_core.cli.main import main

SHARED = Path(__file__).parents[3] / "shared" / "data"
Plan = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def plan(tiny_dir: Path, capsys: pytest.CaptureFixture[str]) -> Plan:
    def plan(*words: object) -> tuple[int, dict[str, Any]]:
        code = main(["plan", str(tiny_dir), "--json", *map(str, words)])
        seen = capsys.readouterr()
        return code, json.loads(seen.out) if seen.out.strip() else {"error": seen.err}

    return plan


def problems(told: dict[str, Any], level: str) -> list[str]:
    found = [p for p in told["problems"] if p["level"] == level]
    return [f"{p['where']}: {p['what']} | {p['fix']}" for p in found]


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    file = folder / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def questions(folder: Path, count: int = 20) -> Path:
    return write(folder, *({"question": f"q{n // 2}", "answer": "yes"} for n in range(count)))


MAPPED = ["--columns", "prompt=question", "--columns", "completion=answer"]


def test_columns_and_a_held_out_fraction(plan: Plan, tmp_path: Path) -> None:
    code, told = plan(questions(tmp_path), *MAPPED, "--eval-fraction", 0.2, "--eval-every", 5)
    assert code == 0
    assert (told["data"]["examples"], told["eval_data"]["examples"]) == (16, 4)
    assert told["steps_per_epoch"] == 1
    assert problems(told, "warning") == []


def test_without_the_columns_the_error_says_which(plan: Plan, tmp_path: Path) -> None:
    code, told = plan(questions(tmp_path))
    assert code == 3
    (problem,) = problems(told, "error")
    assert "20 of 20 records cannot be used" in problem
    assert "--columns prompt=question --columns completion=answer" in problem
    assert "20 × found the fields question, answer" in problem
    assert "data.jsonl:1-20" in problem


def test_a_fraction_and_data_to_evaluate_on(plan: Plan, tmp_path: Path) -> None:
    file = questions(tmp_path)
    code, told = plan(file, *MAPPED, "--eval-fraction", 0.2, "--eval-data", file)
    assert code == 2
    assert "it and --eval-data both say" in problems(told, "error")[0]


def test_bad_records_are_listed_in_the_plan(plan: Plan, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": "a", "completion": "b"}, {"prompt": 3}]
    file = write(tmp_path, *rows)
    with file.open("a") as stream:
        stream.write('{"prompt": "a"\n')
    code, told = plan(file, "--skip-bad-records")
    assert code == 0
    assert (told["data"]["bad"], told["data"]["examples"]) == (2, 1)
    (note,) = [p for p in problems(told, "note") if "cannot be used" in p]
    assert f"{file}:2" in note
    assert f"{file}:3" in note
    assert plan(file)[0] == 3


def test_choice_by_length_and_number(plan: Plan, tmp_path: Path) -> None:
    file = write(tmp_path, *({"text": "word " * n} for n in range(1, 31)))
    code, told = plan(file, "--min-length", 12, "--max-examples", 4, "--max-length", 16,
                      "--overlong", "split")  # fmt: skip
    assert code == 0
    data = told["data"]
    assert data["examples"] == 4
    assert min(data["short"], data["split"], data["not_drawn"]) > 0
    assert data["longest"] <= 16


def test_templates_and_what_is_learnt(plan: Plan, tmp_path: Path) -> None:
    turns = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    file = write(tmp_path, {"messages": [{"role": r, "content": c} for r, c in turns]})
    learnt = []
    for words in (["last"], ["assistant"], ["all"]):
        code, told = plan(file, "--template", "zephyr", "--train-on", *words)
        assert code == 0
        learnt.append(told["data"]["supervised_tokens"])
    assert learnt == sorted(set(learnt))
    code, told = plan(file, "--template", "zephir")
    assert (code, "did you mean zephyr?" in problems(told, "error")[0]) == (2, True)


def test_train_on_says_nothing_of_preferences(plan: Plan, tmp_path: Path) -> None:
    file = write(tmp_path, {"prompt": "a", "chosen": "b", "rejected": "c"})
    code, told = plan(file, "--dpo", "--train-on", "last")
    assert code == 0
    assert "--train-on: it does nothing" in problems(told, "warning")[0]


def test_a_format_by_name(plan: Plan, tmp_path: Path) -> None:
    file = write(tmp_path, {"text": "<human>: a\n<bot>: b"})
    assert plan(file)[1]["data"]["formats"] == {"chip2": 1}
    assert plan(file, "--format", "text")[1]["data"]["formats"] == {"text": 1}
    code, told = plan(file, "--format", "preference")
    assert code == 2
    assert "learns from completion examples" in problems(told, "error")[0]
    code, told = plan(file, "--format", "alpacca")
    assert code == 2


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")
def test_the_files_that_need_a_word(plan: Plan) -> None:
    code, told = plan(SHARED / "identity.json", "--max-length", 100000)
    assert code == 0
    assert told["data"]["placeholders"] == {"name": 77, "author": 60}
    (warning,) = [w for w in problems(told, "warning") if "placeholders" in w]
    assert "--fill" in warning
    fill = ["--fill", "name=Anima", "--fill", "author=the project"]
    code, told = plan(SHARED / "identity.json", "--max-length", 100000, *fill)
    assert (code, told["data"]["placeholders"]) == (0, {})
    code, told = plan(SHARED / "kto_en_demo.json", "--max-length", 100000)
    assert code == 3
    assert "300 × field 'label': a verdict" in problems(told, "error")[0]
    code, told = plan(SHARED / "longchat_topics.json", "--max-length", 100000)
    assert code == 3
    assert "--columns text=CONVERSATION" in problems(told, "error")[0]
    mapped = ["--columns", "text=CONVERSATION", "--max-length", 100000]
    code, told = plan(SHARED / "longchat_topics.json", *mapped)
    (problem,) = problems(told, "error")  # one of them has two answers in a row
    assert code == 3
    assert "longchat_topics.json:20 (record number)" in problem
    assert "--skip-bad-records" in problem
    code, told = plan(SHARED / "longchat_topics.json", *mapped, "--skip-bad-records")
    assert (code, told["data"]["formats"]) == (0, {"user-assistant": 157})
    code, told = plan(SHARED / "longchat_topics.json", *mapped, "--format", "text")
    assert (code, told["data"]["formats"]) == (0, {"text": 158})
