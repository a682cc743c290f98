"""What the README and its neighbours say of the code is so."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from anima_core import errors

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
GENERATED = [ROOT / "docs/reference", ROOT / "docs/plugins"]
"""Folders of pages that are made when the site is built."""


def offered() -> dict[str, str]:
    """Every strategy that this repository offers, with its distribution."""
    found = {}
    for path in [ROOT / "pyproject.toml", *(ROOT / "plugins").glob("*/pyproject.toml")]:
        project = tomllib.loads(path.read_text())["project"]
        for name in project["entry-points"]["anima.strategies"]:
            found[name] = project["name"]
    return found


def table() -> dict[str, tuple[set[str], str]]:
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| ([\w-]+) \|", README, flags=re.MULTILINE)
    return {name: (set(re.findall(r"\w+", slots)), dist) for name, slots, dist in rows}


def test_the_table_names_every_strategy_with_its_distribution() -> None:
    assert {name: dist for name, (_, dist) in table().items()} == offered()


def test_the_table_says_which_slots_a_strategy_answers() -> None:
    from importlib.metadata import entry_points

    mine = offered()
    for entry in entry_points(group="anima.strategies"):
        if entry.name in mine and entry.dist and entry.dist.name == mine[entry.name]:
            assert table()[entry.name][0] == set(entry.load().slots), entry.name


def test_the_exit_codes_are_those_of_the_errors() -> None:
    said = re.search(r"Exit codes: (.*?)\n\n", README, flags=re.DOTALL)
    assert said
    codes = dict(re.findall(r"(\d+) ([\w ]+)", " ".join(said[1].split())))
    assert codes[str(errors.UsageError.exit_code)].startswith("usage")
    assert codes[str(errors.DataError.exit_code)].startswith("data")
    assert "environment" in codes[str(errors.SetupError.exit_code)]
    assert "diverged" in codes[str(errors.DivergedError.exit_code)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        if path.parent in GENERATED:
            continue  # `mkdocs build --strict` finds a dead link to those
        assert path.exists(), f"{page.name}: {target}"


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"(?:`|    )make ([a-z]+)", page.read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"{page.name}: {target}"


def test_ci_runs_what_a_contributor_runs() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111, "executable"
    assert "make test" in script.read_text()
    done = subprocess.run(
        ["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for tool in ("ruff check", "ruff format --check", "mypy --strict", "lint-imports", "pytest"):
        assert tool in done.stdout


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (ROOT / "examples/demo" / name).open(encoding="utf-8")]


def test_the_demo_holds_its_held_out_prompts_out() -> None:
    taught = {row["messages"][0]["content"] for row in rows("sft.jsonl")}
    asked = (ROOT / "examples/demo/held_out.txt").read_text(encoding="utf-8").splitlines()
    assert len(set(asked)) == 8
    assert not taught & set(asked)
    pairs = {row["prompt"] for row in rows("preferences.jsonl")}
    assert not pairs & {row["prompt"] for row in rows("preferences_held_out.jsonl")}
    assert len(taught) == len(rows("sft.jsonl")), "no question twice"
