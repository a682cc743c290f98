"""What each process of `test_data_parallel.py` does; started by torchrun.

Reads the runs to make from a JSON file, and writes what became of each to ``rank-N.json``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anima_core
from anima_core.errors import AnimaError, DataError
from anima_core.runs.reporter import SilentReporter
from anima_core.training.ranks import is_main
from anima_core.training.talk import exchange, first_here, from_main, together


class Killer(SilentReporter):
    """Asks the last process to stop after the second step."""

    def __init__(self, victim: int) -> None:
        self.victim = victim
        self.heard = 0

    def step(self, record: Mapping[str, Any]) -> None:
        self.heard += 1
        if record["step"] == 2:
            os.kill(self.victim, signal.SIGTERM)


def outcome(job: dict[str, Any]) -> dict[str, Any]:
    """Make one run; what it raised, if anything."""
    options = dict(job["options"])
    if "data_of_others" in job and not is_main():
        options["data"] = job["data_of_others"]
    killer = Killer(exchange(os.getpid())[-1]) if job.get("kill") else None
    try:
        result = anima_core.adapt(**options, strategies=job["strategies"], reporter=killer)
    except AnimaError as error:
        return {
            "raised": type(error).__name__,
            "said": str(error),
            "exit_code": error.exit_code,
            "shared": error.shared,
        }
    return {"steps": result.steps, "loss": result.loss}


def talk() -> dict[str, Any]:
    """The primitives by themselves."""
    rank = int(os.environ["RANK"])
    here: list[int] = []

    def fail() -> None:
        if rank == 1:
            raise DataError("no such line", where="data:1", fix="Look.")

    def crash() -> None:
        if rank == 1:
            raise OSError("disk full")

    said = []
    for action in (fail, crash):
        try:
            together(action)
        except Exception as error:  # noqa: BLE001 - its words are what is tested
            said.append([type(error).__name__, str(error)])
    return {
        "heard": exchange([rank, float("inf"), "x" * rank]),
        "from_main": from_main(lambda: here.append(rank) or "main"),
        "did": here,
        "first_here": first_here(lambda: rank),
        "said": said,
    }


def main(jobs: Path, out: Path) -> None:
    told = {"talk": talk()}
    for name, job in json.loads(jobs.read_text()).items():
        told[name] = outcome(job)
    (out / f"rank-{os.environ['RANK']}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
