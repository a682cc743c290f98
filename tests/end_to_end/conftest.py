"""Running `anima` as a user does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Anima:
    """Runs the command in a process of its own.

    Attributes:
        warm: what it is run by (see `warm`).
    """

    warm: Path

    def __call__(
        self, *words: object, check: bool = True, cold: bool = False
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(sys.executable if cold else self.warm, words),
            capture_output=True,
            text=True,
            env=self.env(),
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Start it in an interpreter of its own, which takes signals."""
        return subprocess.Popen(
            self.command(sys.executable, words),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env(),
        )

    @staticmethod
    def command(python: str | Path, words: Sequence[object]) -> list[str]:
        return [str(python), "-m", "anima_core", *map(str, words)]

    @staticmethod
    def env() -> dict[str, str]:
        # One thread: sums are the same in every run, and tests beside this one go on.
        return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}


@pytest.fixture
def anima(warm_python: Path) -> Anima:
    return Anima(warm_python)


def rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a jsonl file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def trace(run: Path) -> list[tuple[int, float, float]]:
    """Step, loss and gradient norm of every optimizer step of a run."""
    return [
        (r["step"], r["loss"], r["grad_norm"]) for r in rows(run / "metrics.jsonl") if "loss" in r
    ]
