"""Every command line that the README and the pages show is one that `anima` understands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from pages import DOCS, ROOT, Written, command_lines, steps

from anima_core.cli.app import RUN_COMMANDS, build_app
from anima_core.cli.first_look import first_look
from anima_core.cli.train import CommandLine

LINES = [(page, line) for page, line in command_lines() if not re.search(r"[\[…]", line)]


@pytest.fixture
def plugins_of_the_pages(distribute: Callable[..., Path]) -> None:
    """The strategies that the pages write, offered as if their plugins were installed."""
    for page in sorted(DOCS.rglob("*.md")):
        for step in steps(page):
            if isinstance(step, Written) and step.path.endswith("/strategy.py"):
                name = Path(step.path).parts[0]
                cls = re.findall(r"^class (\w+):", step.text, flags=re.MULTILINE)[-1]
                distribute(f"anima-{name}", step.text, {name: cls}, "0.1.0")


def parse(words: list[str]) -> None:
    """Parse the words after ``anima``, without running anything."""
    first, rest = words[0], words[1:]
    line = None
    if first in RUN_COMMANDS:
        line = CommandLine(first_look(rest), argv=("anima", *words))
        words = [first, *line.look.rest]
    found: Any = typer.main.get_command(build_app(first, line))
    while words and hasattr(found, "commands"):
        found = found.commands[words[0]]
        words = words[1:]
    assert not hasattr(found, "commands") or not words
    if not words:
        return  # the command's name alone, in a sentence
    try:
        with found.make_context("anima", list(words)):
            pass
    except typer.Exit:
        assert "--help" in words


def test_there_are_many() -> None:
    assert len(LINES) > 30
    assert {page for page, _ in LINES} >= {"README.md", "first-loss-plugin.md", "combine.md"}


@pytest.mark.usefixtures("plugins_of_the_pages")
@pytest.mark.parametrize(("page", "line"), LINES)
def test_it_parses(page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in set(re.findall(r"--config (\S+)", line)):
        Path(name).write_text("model: demo\ndata: [data.jsonl]\n", encoding="utf-8")
    if "--no-plugin" in line and "--dpo" in line:
        return  # refused by what it leaves out, which is what its page shows
    parse(shlex.split(line)[1:])


def test_a_wrong_line_is_found() -> None:
    with pytest.raises(Exception, match="betaa"):
        parse(["train", "MODEL", "DATA", "--dpo", "--dpo.betaa", "1"])
    with pytest.raises(Exception, match="--slots"):
        parse(["plugins", "new", "focal", "--slots", "loss"])


def test_run_files_of_the_pages_name_strategies_by_reference() -> None:
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "strategies: {dpo: {beta: 0.2}}" in shown
