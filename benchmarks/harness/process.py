"""Run one side as a process of its own, and see its time and peak memory from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finished:
    """What a process took.

    Attributes:
        seconds: wall time of the whole process, imports and loading included.
        peak_bytes: its peak resident memory, as the kernel counted it.
    """

    seconds: float
    peak_bytes: int


def run(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Finished:
    """Run a command to its end, its output in a file.

    Raises:
        SystemExit: it failed; the message ends with the last lines of its output.
    """
    start = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
        # wait4, not wait: it brings this child's own peak, whatever ran before.
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except KeyboardInterrupt:
            process.kill()
            raise
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:])
        raise SystemExit(f"{' '.join(command)}\nended with {process.returncode}:\n{tail}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Finished(seconds, usage.ru_maxrss * unit)
