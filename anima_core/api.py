"""The Python API, with the words of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from anima_core.runs.reporter import Reporter, SilentReporter, main_reporter
from anima_core.runs.request import RunRequest

if TYPE_CHECKING:
    from anima_core.training.run import RunResult


def adapt(
    model: str | PathLike[str],
    data: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    output: str | PathLike[str],
    strategies: Mapping[str, Mapping[str, Any]] | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> RunResult:
    """Adapt a model to data: `anima train` from Python.

    Args:
        model: a local folder, a hub id, a ``.gguf`` file, ``demo``, or a run directory.
        data: files, or a hub data set.
        output: the run directory to write.
        strategies: options by strategy name, in order, e.g.
            ``{"qlora": {}, "dpo": {"beta": 0.1}}``.
        reporter: receives the run's news; nothing is shown when None.
        options: the core's options in snake_case, e.g. ``batch_size=8, steps=100``.

    Returns:
        The run's folder, steps and last loss.

    Raises:
        AnimaError: whatever the command line would have refused, with the same words.
    """
    from anima_core.runs.prepare import prepare
    from anima_core.training.run import train

    sources = [data] if isinstance(data, (str, PathLike)) else list(data)
    core = {
        "model": str(model),
        "data": tuple(str(source) for source in sources),
        "output": str(output),
        **options,
    }
    news = main_reporter(reporter or SilentReporter())
    request = RunRequest(core=core, strategies=dict(strategies or {}))
    return train(prepare(request, reporter=news), news)
