"""Which examples a run chooses of its sources, from the command line to the plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anima_core.cli.main import main

Plan = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def plan(tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Plan:
    """Plans of two sources: 40 examples of growing length, and 10."""
    for name, count in (("many", 40), ("few", 10)):
        rows = [{"prompt": f"{name} {n}", "completion": "so " * (n + 1)} for n in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def plan(*words: object) -> tuple[int, dict[str, Any]]:
        code = main(["plan", str(tiny_dir), "--no-cache", "--json", *map(str, words)])
        seen = capsys.readouterr()
        return code, json.loads(seen.out) if seen.out.strip() else {"error": seen.err}

    return plan


def told_of(plan: dict[str, Any], level: str) -> list[str]:
    found = [p for p in plan["problems"] if p["level"] == level]
    return [f"{p['where']}: {p['what']} | {p['fix']}" for p in found]


def taken(plan: dict[str, Any]) -> list[int]:
    return [source["taken"] for source in plan["data"]["per_source"]]


def test_a_mixture_is_drawn_by_its_shares(plan: Plan, tmp_path: Path) -> None:
    many, few = tmp_path / "many.jsonl", tmp_path / "few.jsonl"
    mix = ["--mix", f"{many}=3", "--mix", f"{few}=1"]
    code, told = plan(many, few, *mix, "--max-examples", 20)
    assert (code, taken(told)) == (0, [15, 5])
    data = told["data"]
    assert (data["examples"], data["unmixed"], data["not_drawn"], data["lacking"]) == (20, 30, 0, 0)
    assert sum(source["taken_tokens"] for source in data["per_source"]) == data["tokens"]
    assert data["mixture"] == [
        {"source": str(many), "share": 0.75, "examples": 40, "taken": 15, "limits": False},
        {"source": str(few), "share": 0.25, "examples": 10, "taken": 5, "limits": False},
    ]
    (note,) = [n for n in told_of(told, "note") if "mixture" in n]
    assert f"15 of 40 examples of {many} (75.0%), 5 of 10 examples of {few} (25.0%)" in note
    assert (
        plan(many, few, *mix, "--max-examples", 20, "--seed", 7)[1]["data"]["sha256"]
        != (data["sha256"])
    )


def test_the_plan_says_what_limits_a_mixture_and_how_to_get_more(
    plan: Plan, tmp_path: Path
) -> None:
    many, few = tmp_path / "many.jsonl", tmp_path / "few.jsonl"
    mix = ["--mix", f"{many}=0.5", "--mix", f"{few}=0.5"]
    code, told = plan(many, few, *mix, "--max-examples", 30)
    assert (code, taken(told), told["data"]["lacking"]) == (0, [10, 10], 10)
    (note,) = [n for n in told_of(told, "note") if "can give no more" in n]
    assert f"20 examples, 10 fewer than --max-examples: at these shares {few} can" in note
    code, told = plan(many, few, few, *mix, "--max-examples", 30)
    assert (code, taken(told)) == (0, [15, 10, 5])
    assert not [n for n in told_of(told, "note") if "can give no more" in n]


def test_a_mixture_comes_after_the_limits_and_before_the_evaluation(
    plan: Plan, tmp_path: Path
) -> None:
    many, few = tmp_path / "many.jsonl", tmp_path / "few.jsonl"
    longest, enough = (plan(file)[1]["data"]["longest"] for file in (many, few))
    code, told = plan(
        many, few, "--mix", f"{many}=2", "--mix", f"{few}=1", "--eval-fraction", 0.2,
        "--min-length", enough - 6, "--max-length", longest - 3, "--overlong", "drop",
    )  # fmt: skip
    assert code == 0
    data, held = told["data"], told["eval_data"]
    assert data["short"]
    assert data["dropped"]
    assert sum(taken(told)) == data["examples"] + held["examples"]
    assert taken(told)[0] == 2 * taken(told)[1]
    assert data["per_source"][1]["short"]
    assert data["per_source"][0]["dropped"] == data["dropped"]
    assert data["longest"] <= longest - 3


def test_a_mixture_of_nothing_is_refused(plan: Plan, tmp_path: Path) -> None:
    many, few = tmp_path / "many.jsonl", tmp_path / "few.jsonl"
    mix = ["--mix", f"{many}=1", "--mix", f"{few}=1"]
    longest = plan(many)[1]["data"]["longest"]
    code, told = plan(many, few, *mix, "--min-length", longest)
    assert code == 3
    assert (
        f"no mixture can be made: too few examples are left of {few}" in (told_of(told, "error")[0])
    )


@pytest.mark.parametrize(
    ("sources", "mix", "what"),
    [
        (["many", "few"], ["many"], "--mix: there is no share for"),
        (["many"], ["many"], "--mix: it does nothing: there is one source"),
    ],
)
def test_shares_that_do_not_fit_the_sources(
    plan: Plan, tmp_path: Path, sources: list[str], mix: list[str], what: str
) -> None:
    files = [tmp_path / f"{name}.jsonl" for name in sources]
    shares = [word for name in mix for word in ("--mix", f"{tmp_path / name}.jsonl=1")]
    code, told = plan(*files, *shares)
    assert code == 2
    assert what in told_of(told, "error")[0]


def test_prompts_and_answers_have_limits_of_their_own(plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    words = "word " * 50
    rows = [{"source": words, "target": "b"}, {"source": "a", "target": words}]
    rows.append({"source": "a", "target": "b"})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    limits = ["--max-prompt-length", 60, "--max-answer-length", 20]
    code, told = plan(file, *limits)
    assert code == 3
    (error,) = told_of(told, "error")
    assert "1 of 3 examples have a prompt of more than 60 tokens" in error
    assert "1 of 3 examples have an answer of more than 20 tokens" in error
    assert f"{file}:1" in error
    assert f"{file}:2" in error
    code, told = plan(file, *limits, "--overlong", "truncate")
    data = told["data"]
    assert (code, data["over_prompt"], data["over_answer"]) == (0, 1, 1)
    assert (data["examples"], data["truncated"], data["dropped"]) == (2, 1, 1)
    notes = told_of(told, "note")
    assert any("1 over that of prompts, 1 over that of answers) were dropped" in n for n in notes)
    code, told = plan(file, *limits, "--overlong", "split")
    assert code == 2
    assert "only plain text is split" in told_of(told, "error")[0]


def test_limits_of_prompts_do_nothing_for_plain_text(plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "text.jsonl"
    file.write_text(json.dumps({"text": "word " * 20}) + "\n")
    code, told = plan(file, "--max-prompt-length", 2)
    assert code == 0
    assert "--max-prompt-length: it does nothing: plain text has" in told_of(told, "warning")[0]
    code, told = plan(tmp_path / "few.jsonl", "--max-answer-length", 2, "--train-on", "all")
    assert code == 0
    assert "with --train-on all there is neither" in told_of(told, "warning")[0]
