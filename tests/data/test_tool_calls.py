"""Dialogues with tools: refused where a template leaves calls or answers out, else learnt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from anima_core.cli.main import main
from anima_core.data.chosen_template import use_template
from anima_core.data.dataset import load_dataset
from anima_core.data.read import read_sources

FILE = Path(__file__).parent / "tool_calls.jsonl"


def test_a_template_without_tools_is_refused_with_one_that_has_them(
    tiny_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(tiny_dir), str(FILE)]) == 3
    told = capsys.readouterr().out
    assert "10 of 10 records cannot be used" in told
    assert "leaves out 'tools'" in told
    assert "--template chatml-tools" in told


def test_calls_are_learnt_and_tools_answers_are_not(tiny_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_dir)
    use_template(tokenizer, "chatml-tools")
    examples, summary = load_dataset(
        read_sources([str(FILE)]),
        tokenizer,
        kind="completion",
        limit=10**6,
        overlong="error",
        sources=[str(FILE)],
    )
    assert (summary.examples, summary.formats) == (10, {"messages": 10})
    rows = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
    for example, row in zip(examples, rows, strict=True):
        (segment,) = example.segments
        pairs = list(zip(segment.ids, segment.supervised, strict=True))
        learnt = tokenizer.decode([token for token, taught in pairs if taught])
        context = tokenizer.decode([token for token, taught in pairs if not taught])
        for message in row["messages"]:
            content = (message["content"] or "").strip()
            assert content in (learnt if message["role"] == "assistant" else context)
            for call in message.get("tool_calls", ()):
                assert f'"name": "{call["function"]["name"]}"' in learnt
        assert "<tool_response>" not in learnt
        assert "<tools>" in context


def test_a_step_is_trained_on_them(tiny_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["--template", "chatml-tools", "--steps", "1", "--batch-size", "2"]
    words += ["--max-length", "4096", "--device", "cpu", "--output", str(run)]
    assert main(["train", str(tiny_dir), str(FILE), *words]) == 0
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert 0 < first["loss"] < 20
