"""Python processes that need not import torch: each is forked from one that has.

Importing torch, transformers and bitsandbytes takes ten seconds of a processor, a run of a test's
model a fraction of one. A command line that is run warm has a process of its own all the same, with
its own environment, working directory, modules of ours and exit code; only the libraries are there
already. What is tested for what it imports, or for the signals that it is sent, is run cold.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent

SETTLED = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""Variables that the libraries read as they are imported: as `anima` sets them, and the tests."""


class Warm:
    """The process that is forked from, while it lasts.

    Attributes:
        address: the socket on which it is asked; None where every command line is run cold.
    """

    def __init__(self, address: Path | None) -> None:
        self.address = address

    def python(self, python: Path, at: Path) -> Path:
        """A program to use in the place of an environment's `python`.

        Args:
            python: the interpreter of the environment.
            at: a file to write the program to.
        """
        if self.address is None:
            return python
        client = f'"{sys.executable}" -IS "{HERE / "client.py"}" "{self.address}"'
        at.write_text(f'#!/bin/sh\nexec {client} "$0" "{python}" "$@"\n', encoding="utf-8")
        at.chmod(0o755)
        return at


@contextmanager
def warm_process() -> Iterator[Warm]:
    """Start it; when the block is left, it ends, and with it whatever it still runs.

    All is cold where ``ANIMA_TEST_COLD`` is set, and where a system forks badly or not at all.
    """
    if sys.platform != "linux" or os.environ.get("ANIMA_TEST_COLD"):
        yield Warm(None)
        return
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="anima-warm-") as folder:  # a socket's path is short
        address = Path(folder) / "socket"
        process = subprocess.Popen(
            [sys.executable, "-S", str(HERE / "server.py"), str(address)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**kept, **SETTLED},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n", "the warm process did not start"
            yield Warm(address)
        finally:
            process.stdin.close()
            process.wait()
            process.stdout.close()
