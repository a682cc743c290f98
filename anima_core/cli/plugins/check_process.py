"""Checks of a distribution, made in a process of its own, and told as they are made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any

from anima_core.cli.plugins.check_targets import Target
from anima_core.registry.offers import DISABLE_VARIABLE
from anima_core.testing.projects import as_if_installed, import_path


@dataclass(frozen=True)
class Result:
    """What became of one check.

    Attributes:
        distribution, version, strategy: what was checked.
        check: which check.
        state: ``ok``, ``failed`` or ``skipped``.
        reason: what was wrong, or why it was skipped.
        seconds: how long it took.
    """

    distribution: str
    version: str
    strategy: str
    check: str
    state: str
    reason: str = ""
    seconds: float = 0.0


def run_checks(target: Target, disabled: Sequence[str]) -> Iterator[Result]:
    """Put every strategy of a distribution to its checks.

    Args:
        target: the distribution; nothing of it need be installed where its source is given.
        disabled: distributions to leave out.

    Yields:
        Results as they come; a process that dies is one that failed.
    """
    project = target.project
    with ExitStack() as stack:
        front = stack.enter_context(as_if_installed(project)) if project else []
        log = stack.enter_context(TemporaryFile())
        left_out = ",".join(filter(None, [*disabled, os.environ.get(DISABLE_VARIABLE, "")]))
        environment = {**os.environ, "PYTHONPATH": import_path(front), DISABLE_VARIABLE: left_out}
        command = [sys.executable, "-P", "-m", "anima_core.testing.process", target.distribution]
        child = stack.enter_context(
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=log, encoding="utf-8"
            )
        )
        try:
            yield from _results(target, child, log)
        finally:
            child.kill()  # nothing where it has ended


def _results(target: Target, child: subprocess.Popen[str], log: IO[bytes]) -> Iterator[Result]:
    assert child.stdout is not None
    begun: dict[str, Any] = {"strategy": "", "check": "load"}
    ended = False
    for line in child.stdout:
        said: dict[str, Any] = json.loads(line)
        if "end" in said:
            ended = True
        elif "state" in said:
            yield Result(target.distribution, target.version, **said)
        else:
            begun = said
    if not ended:
        code = child.wait()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        log.seek(0)
        last = log.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        reason = ": ".join([f"the process ended with {how}", *last])
        yield Result(target.distribution, target.version, **begun, state="failed", reason=reason)
