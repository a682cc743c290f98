"""A run's news on the screen: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from anima_core.cli.render_plan import print_plan
from anima_core.cli.units import duration, number, size
from anima_core.runs.plan import Plan

_SHOWN_APART = frozenset(
    {
        "step",
        "loss",
        "learning_rate",
        "grad_norm",
        "tokens",
        "tokens_per_second",
        "memory_bytes",
        "examples",
        "seconds",
        "epoch",
    }
)


class _Count(ProgressColumn):
    """How many are done, of how many where that is known."""

    def render(self, task: Task) -> Text:
        """The count, and nothing while nothing of unknown length is counted."""
        if task.total is None:
            return Text(f"{task.completed:,.0f}" if task.completed else "")
        return Text(f"{task.completed:,.0f}/{task.total:,.0f}")


class RichReporter:
    """Implements `anima_core.runs.reporter.Reporter` on one console.

    Args:
        console: where everything goes: standard error.
        log_every: steps between updates of the bar, or between lines.
    """

    def __init__(self, console: Console, log_every: int = 1) -> None:
        self.console = console
        self.log_every = log_every
        self._bars: Progress | None = None
        self._training: Any = None
        self._last: Mapping[str, Any] | None = None
        self._start, self._total, self._began = 0, 0, 0.0
        self._headline: tuple[str, ...] = ()

    def plan(self, plan: Plan) -> None:
        """The whole plan; later lines show the metrics that it puts first."""
        self._headline = plan.headline
        print_plan(self.console, plan)

    def note(self, text: str) -> None:
        """One line."""
        self._line(Text(text))

    def warn(self, text: str) -> None:
        """One line, marked as a warning."""
        self._line(Text("warning: ", style="yellow") + Text(text))

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar (a spinner where the length is unknown), or a line when it begins."""
        if not self.console.is_terminal:
            self._line(Text(f"{name} ..."))
            yield lambda _units: None
            return
        with self._bar(name, total) as (bars, task):
            yield lambda units: bars.advance(task, units)

    @contextmanager
    def training(self, start: int, total: int) -> Iterator[None]:
        """The bar of the whole training, with time left."""
        self._start, self._total, self._began = start, total, time.monotonic()
        if not self.console.is_terminal:
            yield
            return
        try:
            with self._bar("training", total, completed=start) as (_, task):
                self._training = task
                yield
        finally:
            self._training = None
            if self._last is not None:  # the bar is gone; its last word stays
                self.step(self._last)

    def step(self, record: Mapping[str, Any]) -> None:
        """Every `log_every` steps, and the last: loss, speed, memory and time left."""
        step = int(record["step"])
        if step % self.log_every and step != self._total:
            return
        self._last = record
        if self._bars is not None and self._training is not None:
            text = "  ".join(self._words(record))
            self._bars.update(self._training, completed=step, text=text)
        else:
            self._line(Text("  ".join([f"step {step}/{self._total}", *self._words(record)])))

    def evaluation(self, record: Mapping[str, Any]) -> None:
        """One line with the loss and its headline; with every figure where there is none."""
        first = [f"eval_{name}" for name in ("loss", *self._headline)] if self._headline else record
        shown = [(key, record[key]) for key in first if key in record and key != "step"]
        figures = "  ".join(_figure(key, value) for key, value in shown)
        self._line(Text(f"evaluation after step {record.get('step', 0)}  {figures}", style="cyan"))

    def samples(self, rows: list[dict[str, Any]]) -> None:
        """Each prompt and its answer."""
        for row in rows:
            self._line(Text(f"sample after step {row['step']}", style="dim"))
            self._line(Text("> ", style="bold") + Text(str(row["prompt"])))
            self._line(Text(str(row["answer"])))

    def _words(self, record: Mapping[str, Any]) -> list[str]:
        words = [f"loss {record['loss']:.4f}"] if "loss" in record else []
        shown = self._headline or [name for name in record if name not in _SHOWN_APART]
        words += [_figure(name, record[name]) for name in shown if name in record]
        if "learning_rate" in record:
            words.append(f"lr {record['learning_rate']:.2e}")
        if "tokens_per_second" in record:
            words.append(f"{record['tokens_per_second']:,.0f} tokens/s")
        if "memory_bytes" in record:
            words.append(size(record["memory_bytes"]))
        return [*words, f"{duration(self._left(int(record['step'])))} left"]

    def _left(self, step: int) -> float:
        """Seconds to go, at the pace since training began."""
        pace = (time.monotonic() - self._began) / max(1, step - self._start)
        return pace * (self._total - step)

    @contextmanager
    def _bar(
        self, name: str, total: int | None, completed: int = 0
    ) -> Iterator[tuple[Progress, Any]]:
        """A task of the one live display, which stays up while any task is under way."""
        first = self._bars is None
        bars = self._display() if self._bars is None else self._bars
        if first:
            self._bars = bars
            bars.start()
        task = bars.add_task(name, total=total, completed=completed, text="")
        try:
            yield bars, task
        finally:
            bars.remove_task(task)
            if first:
                bars.stop()
                self._bars = None

    def _display(self) -> Progress:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            _Count(),
            TextColumn("{task.fields[text]}", markup=False),
        )
        return Progress(*columns, console=self.console, transient=True)

    def _line(self, text: Text) -> None:
        self.console.print(text, soft_wrap=True)


def _figure(key: str, value: Any) -> str:
    shown = number(value) if isinstance(value, (int, float)) else str(value)
    return f"{key} {shown}"
