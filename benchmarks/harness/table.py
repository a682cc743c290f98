"""What a comparison found, for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, median

from harness.sides import Measured

WITH = "speed_with_reference"
"""The ratio of pairs a second where what the reference takes is counted."""

Results = Mapping[str, Sequence[Measured]]
"""Measurements by side, Anima's first, one a repeat."""


def table(results: Results, *, unit: str) -> str:
    """A Markdown table: medians, with the range where there are several runs.

    Args:
        results: what was measured.
        unit: ``"tokens/s"`` or ``"pairs/s"``.
    """
    speeds = [f"{unit} without the reference", f"{unit} with it"] if unit == "pairs/s" else [unit]
    names = [*speeds, "peak memory, GB", "whole run, s", "tokens", "loss: first, mean"]
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for name, runs in results.items():
        peaks = [run.peak_bytes / 1e9 for run in runs]
        losses = [step.loss for step in runs[0].steps]
        cells = [
            name,
            _spread([speed(run, unit) for run in runs], 3 if unit == "pairs/s" else 1),
            *([_spread([_with_reference(run) for run in runs], 3)] if unit == "pairs/s" else []),
            _spread(peaks, 2),
            _spread([run.whole_seconds for run in runs], 0),
            str(sum(step.tokens for step in runs[0].steps)),
            f"{losses[0]:.4f}, {mean(losses):.4f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratios(results: Results, *, unit: str) -> dict[str, dict[str, float]]:
    """The first side over each other one: median of the ratios of neighbouring runs."""
    (_, ours), *others = results.items()
    measures: dict[str, Callable[[Measured], float]] = {
        "speed": lambda run: speed(run, unit),
        "memory": lambda run: run.peak_bytes,
    }
    if unit == "pairs/s":
        measures[WITH] = _with_reference
    return {
        name: {
            measure: median(of(a) / of(b) for a, b in zip(ours, theirs, strict=True))
            for measure, of in measures.items()
        }
        for name, theirs in others
    }


def losses(results: Results) -> str:
    """Losses step by step, a column a side: the first runs."""
    names = list(results)
    lines = [f"| step | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for number, row in enumerate(zip(*(results[n][0].steps for n in names), strict=True), 1):
        lines.append(f"| {number} | {' | '.join(f'{step.loss:.5f}' for step in row)} |")
    return "\n".join(lines)


def speed(run: Measured, unit: str) -> float:
    """A run's speed in a unit; pairs a second without what the reference took."""
    return run.examples_per_second if unit == "pairs/s" else run.tokens_per_second


def _with_reference(run: Measured) -> float:
    return run.examples_per_second_with_reference


def _spread(values: Sequence[float], digits: int) -> str:
    text = f"{median(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
    return text
