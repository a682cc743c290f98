"""A loss that names another model as its reference: refused before a weight is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from anima_core.errors import AnimaError
from anima_core.model.beside import check_same_vocabulary
from anima_core.model.frozen import frozen_source
from anima_core.problems import Problem
from anima_core.runs.capabilities import window_of

if TYPE_CHECKING:
    from anima_core.context import RunContext
    from anima_core.contracts import Loss
    from anima_core.registry.selection import Selection
    from anima_core.runs.plan import DataSummary


def reference_option(selection: Selection) -> str:
    """The option that names the reference model, as far as its name says so."""
    strategy = selection.providers["loss"].strategy
    fields = type(selection.strategies[strategy]).model_fields
    return f"--{strategy}.reference" if "reference" in fields else f"--{strategy}"


def reference_problems(
    run: RunContext,
    selection: Selection,
    loss: Loss,
    data: Iterable[DataSummary | None],
) -> list[Problem]:
    """Problems between a run and the model that its loss names as its reference.

    Args:
        run: the run.
        selection: its strategies.
        loss: its loss.
        data: what it trains on and is evaluated on.
    """
    source = getattr(loss, "reference_model", None)
    if source is None:
        return []
    where = reference_option(selection)
    if not isinstance(source, str):
        what = f"its loss's reference_model is {source!r}, which names no model"
        return [Problem(where, what, "The plugin must give it as a str, or None.")]
    if not loss.uses_reference:
        what = "would do nothing: the loss looks at no reference"
        return [Problem(where, what, "Leave it out, or use a loss that compares with one.")]
    found = check_same_vocabulary(run, source, where=where)
    if any(problem.level == "error" for problem in found):
        return found
    longest = max((summary.longest for summary in data if summary is not None), default=0)
    try:
        _, _, beside = frozen_source(run, source)
        window = window_of(beside.model_config)
    except AnimaError as error:
        return [*found, Problem(where, error.what, error.fix, exit_code=error.exit_code)]
    if longest > window:
        what = f"{source} reads {window} tokens at most, and the longest example has {longest}"
        fix = f"Say --max-length {window} --overlong drop (or truncate), or name another model."
        found.append(Problem(where, what, fix))
    return found
