"""What a run tells the person who started it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from anima_core.runs.plan import Plan
from anima_core.training.ranks import is_main


class Reporter(Protocol):
    """Receives a run's news. The command line shows it with rich; Python may bring its own."""

    def plan(self, plan: Plan) -> None:
        """The plan, once, before anything loads."""

    def note(self, text: str) -> None:
        """One sentence worth knowing: a stage finished, a checkpoint saved."""

    def warn(self, text: str) -> None:
        """Something that may be wrong."""

    def stage(self, name: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """A stage of known (or unknown) length; call what it yields with units done."""

    def training(self, start: int, total: int) -> AbstractContextManager[None]:
        """Training runs from step `start` to step `total`."""

    def step(self, record: Mapping[str, Any]) -> None:
        """One optimizer step: a record of ``metrics.jsonl``."""

    def evaluation(self, record: Mapping[str, Any]) -> None:
        """One evaluation: a record with ``eval_…`` keys."""

    def samples(self, rows: list[dict[str, Any]]) -> None:
        """Sample answers: rows with ``step``, ``prompt`` and ``answer``."""


def main_reporter(reporter: Reporter) -> Reporter:
    """The reporter in a run's first process; silence in the others."""
    return reporter if is_main() else SilentReporter()


def _ignore(_units: int) -> None:
    return None


class SilentReporter:
    """Says nothing: the default of the Python API."""

    def plan(self, plan: Plan) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """Nothing."""

    def stage(
        self,
        name: str,  # noqa: ARG002
        total: int | None,  # noqa: ARG002
    ) -> AbstractContextManager[Callable[[int], None]]:
        """A stage that shows nothing."""
        return nullcontext(_ignore)

    def training(self, start: int, total: int) -> AbstractContextManager[None]:  # noqa: ARG002
        """A training stage that shows nothing."""
        return nullcontext()

    def step(self, record: Mapping[str, Any]) -> None:
        """Nothing."""

    def evaluation(self, record: Mapping[str, Any]) -> None:
        """Nothing."""

    def samples(self, rows: list[dict[str, Any]]) -> None:
        """Nothing."""
