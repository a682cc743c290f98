"""The README's loss plugin, built from its text, installed as a distribution and trained with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from anima_core.testing import save_tiny

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("hatchling", reason="builds the plugin with the build backend itself")


def readme_files() -> dict[str, str]:
    """The README's code blocks that begin with a file's name, by that name."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+\n# ([\w./]+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return dict(blocks)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the plugin's wheel is unpacked onto the path."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name, text in readme_files().items():
        (source / name).write_text(text, encoding="utf-8")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(source)]
    done = subprocess.run(build, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = source.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return {**os.environ, "PYTHONPATH": str(site)}


def anima(
    environment: dict[str, str], folder: Path, *arguments: str, python: str | Path = sys.executable
) -> str:
    command = [str(python), "-m", "anima_core", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_shows_both_files() -> None:
    assert set(readme_files()) == {"pyproject.toml", "anima_focal.py"}


def test_the_plugin_is_offered_with_its_options(
    environment: dict[str, str], warm_python: Path, tmp_path: Path
) -> None:
    listed = anima(environment, tmp_path, "plugins", "list", python=warm_python)
    assert "focal" in listed
    assert "anima-focal" in listed
    assert "--focal.gamma" in anima(environment, tmp_path, "train", "--focal", "--help")


@pytest.mark.parametrize("others", [(), ("--lora", "--xentropy", "--paged-adamw")])
def test_it_trains_alone_and_beside_the_bundled_strategies(
    environment: dict[str, str], warm_python: Path, tmp_path: Path, others: tuple[str, ...]
) -> None:
    save_tiny(tmp_path / "tiny")
    rows = [{"prompt": f"say {n}", "completion": f"here is {n}"} for n in range(4)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    anima(
        environment, tmp_path,
        "train", "tiny", "data.jsonl", "--focal", "--focal.gamma", "1.5", *others,
        "--steps", "2", "--batch-size", "4", "--output", "run",
        python=warm_python if others else sys.executable,
    )  # fmt: skip
    records = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    steps = [record for record in records if "loss" in record]
    assert [record["step"] for record in steps] == [1, 2]
    assert all(0 < record["hard"] <= 1 for record in steps)
    assert 0 < steps[0]["loss"] < 20
    manifest = (tmp_path / "run/manifest.json").read_text()
    assert "anima-focal" in manifest
