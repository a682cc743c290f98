"""Asks the loss what seems wrong with a run, after each step and evaluation, and tells it once."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anima_core.training.ranks import is_main

if TYPE_CHECKING:
    from anima_core.contracts import Loss
    from anima_core.runs.folder import RunFolder
    from anima_core.runs.reporter import Reporter

WINDOW = 1000
"""Steps whose records a loss is shown, the last ones; those of evaluations among them besides."""

_NUMBER = re.compile(r"-?\d[\d.,]*(?:e[+-]?\d+)?")


class Watcher:
    """Shows a loss the records of its run, where it has `warnings` (see `contracts.Watching`).

    In a run's first process alone; in the others, and with a loss that does not watch, nothing is
    kept.

    Args:
        loss: the loss.
        name: the strategy that it comes from, for the words about a failure.
        folder: where what is told is kept; what it holds of the steps before is not told again.
        reporter: tells it.
    """

    def __init__(self, loss: Loss, name: str, folder: RunFolder, reporter: Reporter) -> None:
        self._ask = getattr(loss, "warnings", None) if is_main() else None
        self._name = name
        self._folder = folder
        self._reporter = reporter
        self._records: deque[dict[str, float]] = deque()
        self._steps = 0
        self._told = {_alike(told["text"]) for told in folder.warnings}
        if self._ask is not None:
            for record in folder.read_metrics():
                self._note(_numbers(record))

    def see(self, record: Mapping[str, Any]) -> None:
        """Note a record of ``metrics.jsonl``, and tell what the loss makes of all of them."""
        if self._ask is None:
            return
        self._note(_numbers(record))
        step = int(record["step"])
        for text in self._answers(step):
            self._tell(step, text)

    def _note(self, record: dict[str, float]) -> None:
        self._records.append(record)
        self._steps += "loss" in record
        while self._steps > WINDOW:
            self._steps -= "loss" in self._records.popleft()

    def _answers(self, step: int) -> Sequence[str]:
        """What the loss says; a loss that fails at it is not asked again."""
        ask, fault = self._ask, ""
        assert ask is not None
        try:
            found = ask(tuple(self._records))
            several = isinstance(found, Sequence) and not isinstance(found, str | bytes)
            if several and all(isinstance(text, str) for text in found):
                return tuple(found)
            fault = "it returned something else than a list of texts"
        except Exception as error:  # noqa: BLE001 - a look at a run must not end it
            fault = f"{type(error).__name__}: {error}"
        self._ask = None
        self._tell(step, f"{self._name} cannot watch this run: its `warnings` failed ({fault})")
        return ()

    def _tell(self, step: int, text: str) -> None:
        if _alike(text) in self._told:
            return
        self._told.add(_alike(text))
        self._reporter.warn(text)
        self._folder.warn(step, text)


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """What of a record is a finite number."""
    return {
        name: value
        for name, value in record.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _alike(text: str) -> str:
    """A text without its numbers."""
    return _NUMBER.sub("#", text)
