"""Try strategies in a process of their own, so that nothing that they do can happen to this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any

from anima_core.registry.offers import Offer
from anima_core.registry.report import BUILD, IMPORT, LIBRARIES, Report

PATIENCE = 60.0
"""Seconds that a strategy may take for one step of its own."""

SLOW = 300.0
"""Seconds for what loads torch."""

UNTRIED = "its hooks were not tried: the process to try them in"
"""How a note begins that tells of nothing that the strategy did."""


@dataclass(frozen=True)
class Job:
    """A strategy to try.

    Attributes:
        offer: the strategy.
        hooks: whether its hooks are called.
        diagnose: whether its `diagnose` is.
    """

    offer: Offer
    hooks: bool = True
    diagnose: bool = False


def probe(
    jobs: Sequence[Job], disabled: Sequence[str] = (), *, patience: float = PATIENCE
) -> list[Report]:
    """Try strategies; a report for each, in order.

    One that ends or hangs the process is reported for that, and the next begins a new one.

    Args:
        jobs: what to try.
        disabled: distributions to leave out.
        patience: seconds that a strategy may take for one step.
    """
    reports: list[Report] = []
    while len(reports) < len(jobs):
        done = list(_attempt(jobs[len(reports) :], disabled, patience))
        reports += done
    return reports


def _attempt(jobs: Sequence[Job], disabled: Sequence[str], patience: float) -> Iterator[Report]:
    """The reports of one process: at least one, the last of which may tell of its end."""
    with _child(jobs, disabled) as lines:
        for _job in jobs:
            report, at = Report(), ""
            allowed = SLOW
            while True:
                line = lines.next(allowed)
                if isinstance(line, str):
                    yield _ended(report, at, line)
                    return
                at = line.get("at", at)
                allowed = max(patience, SLOW) if line.get("slow") else patience
                report = Report.from_dict(line["report"]) if "report" in line else report
                if "report" in line and "at" not in line:
                    yield report
                    break


def _ended(report: Report, at: str, what: str) -> Report:
    """The report of a strategy that did not let the process go on."""
    if at in ("", LIBRARIES):  # not its own doing
        return replace(report, notes=(*report.notes, f"{UNTRIED} {what}"))
    if at == IMPORT:
        return replace(report, broken=f"{at} {what}")
    said = f"{at} {what}" if at == BUILD else f"its hook `{at}` {what}"
    return replace(report, faults={**report.faults, at: said})


class _Lines:
    """The lines of a child process, each waited for as long as it may take."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._queue: Queue[str | None] = Queue()
        assert process.stdout is not None
        self._reader = Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._queue.put(line)
        self._queue.put(None)

    def drain(self) -> None:
        """Let the reading end, once the process has ended."""
        self._reader.join(timeout=10)

    def next(self, seconds: float) -> dict[str, Any] | str:
        """The next line; or, as text, how the process ended."""
        try:
            line = self._queue.get(timeout=seconds)
        except Empty:
            return f"took longer than {seconds:.0f} seconds"
        if line is None:
            return f"ended the process ({_how(self._process.wait())})"
        read: dict[str, Any] = json.loads(line)
        return read


def _how(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


@contextmanager
def _child(jobs: Sequence[Job], disabled: Sequence[str]) -> Iterator[_Lines]:
    asked = {
        "path": [os.path.abspath(entry) for entry in sys.path],  # noqa: PTH100 - "" is the cwd
        "disabled": list(disabled),
        "jobs": [
            {"reference": job.offer.reference, "hooks": job.hooks, "diagnose": job.diagnose}
            for job in jobs
        ],
    }
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    process = subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-m", "anima_core.registry.probe"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **quiet},
        start_new_session=True,
    )
    assert process.stdin is not None
    lines = _Lines(process)
    try:
        with suppress(BrokenPipeError):  # it ended at once, which its lines will say
            process.stdin.write(json.dumps(asked))
            process.stdin.close()
        yield lines
    finally:
        _end(process)
        lines.drain()


def _end(process: subprocess.Popen[str]) -> None:
    """End the process, and those that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
