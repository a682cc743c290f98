"""The core by itself: no plugin, no peft and no bitsandbytes anywhere on the path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ABSENT = ("peft", "bitsandbytes", "anima_qlora", "anima_dpo", "anima_longctx", "anima_adapt_")


@pytest.fixture(scope="module")
def core_only(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose only packages are links to those that the core may use."""
    farm = tmp_path_factory.mktemp("packages")
    for scheme in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(scheme).iterdir():
            unwanted = entry.name.startswith(ABSENT) or entry.suffix == ".pth"
            if not unwanted and not (farm / entry.name).exists():
                (farm / entry.name).symlink_to(entry)
    if not (farm / "anima_core").exists():
        (farm / "anima_core").symlink_to(ROOT / "anima_core")
    return {**os.environ, "PYTHONPATH": str(farm)}


def anima(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-S", "-P", "-m", "anima_core", *arguments]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_plugins_are_really_absent(core_only: dict[str, str], tmp_path: Path) -> None:
    script = (
        "import importlib.util as u, json\n"
        f"print(json.dumps([n for n in {ABSENT[:-1]!r} if u.find_spec(n)]))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", script],
        env=core_only, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == []


def test_help_and_version(core_only: dict[str, str], tmp_path: Path) -> None:
    assert "train" in anima(core_only, tmp_path, "--help")
    assert "0.1.0" in anima(core_only, tmp_path, "--version")
    shown = anima(core_only, tmp_path, "train", "--help")
    assert "--adamw" in shown
    assert "--qlora" not in shown


def test_plugins_list_names_the_core_alone(core_only: dict[str, str], tmp_path: Path) -> None:
    shown = anima(core_only, tmp_path, "plugins", "list")
    assert "anima-adapt" in shown
    assert "sft" in shown
    assert "qlora" not in shown


def test_doctor(core_only: dict[str, str], tmp_path: Path) -> None:
    anima(core_only, tmp_path, "doctor")
