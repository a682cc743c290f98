"""Runs a comparison of losses: Anima makes what both start from, TRL computes, Anima compares."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from harness.environments import ROOT, anima_python, trl_python  # noqa: E402


def run(name: str, about: str | None, cases: Mapping[str, Any]) -> int:
    """Let each side compute every case in an environment of its own.

    Args:
        name: what the sides' scripts are called: ``NAME_anima.py`` and ``NAME_trl.py``.
        about: the driver's docstring.
        cases: what is compared, by name.

    Returns:
        1 where a value or a gradient differs, else 0.
    """
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--anima-python", type=Path, help="interpreter that has Anima")
    parser.add_argument("--trl-python", type=Path, help="interpreter that has TRL")
    folder = ROOT / ".cache" / "benchmarks" / name.replace("_", "-")
    parser.add_argument("--work", type=Path, default=folder)
    options = parser.parse_args()
    work: Path = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    (work / "cases.json").write_text(json.dumps(cases, indent=1), encoding="utf-8")
    anima = anima_python(options.anima_python, work)
    trl = trl_python(options.trl_python, work)
    side = [str(anima), str(HERE / f"{name}_anima.py"), "--folder", str(work)]
    quietly([*side, "--make"], work / "make.log")
    quietly([str(trl), str(HERE / f"{name}_trl.py"), "--folder", str(work)], work / "trl.log")
    return subprocess.run(side, env=offline(), check=False).returncode


def quietly(line: list[str], log: Path) -> None:
    """Run a process; its output is shown if it fails."""
    with log.open("wb") as output:
        code = subprocess.run(
            line, stdout=output, stderr=subprocess.STDOUT, env=offline(), check=False
        ).returncode
    if code:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:])
        raise SystemExit(f"{' '.join(line)}\nended with {code}:\n{tail}")


def offline() -> dict[str, str]:
    """The environment of a side."""
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
    }
