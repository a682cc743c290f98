"""Check of a strategy by a run: two steps of training, alone or in company."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from anima_core.errors import AnimaError, DataError, SetupError, UsageError
from anima_core.testing.installed import offered
from anima_core.testing.instances import build, refuse_if_it_does

if TYPE_CHECKING:
    from anima_core.strategy import Options

STEPS = 2


def check_run(
    cls: Any,
    name: str,
    options: Options | None = None,
    *,
    beside: Sequence[str] = (),
    data: Sequence[str] | None = None,
    **core: Any,
) -> None:
    """Two steps of training with a strategy end well: a whole run, from files to a result.

    The run is that of ``anima train`` on a tiny Llama and tiny data of the kind that the loss
    wants. Each step must have a finite loss and a gradient, and the run directory must hold what
    was trained, as safetensors.

    Args:
        cls: the strategy's class; its distribution need not be installed.
        name: the strategy's name.
        options: what it is built with; its defaults when None.
        beside: names of installed strategies to select too.
        data: sources to train on; a jsonl file when None.
        core: further core options by field name, e.g. ``dtype="bfloat16"``.

    Raises:
        AssertionError: the run failed, or did not come to what it must.
        unittest.SkipTest: the strategy refuses this machine by its `validate`, it lacks a
            package, it reads no jsonl, or it refuses the company it is given.
    """
    import anima_core
    from anima_core.testing.tiny_runs import tiny_run

    with tiny_run() as tiny, offered(cls, name) as reference, _own_cache():
        strategy = build(cls, options)
        refuse_if_it_does(strategy, tiny.run)
        given = {} if options is None else options.model_dump(exclude_unset=True)
        none: Mapping[str, Any] = {}
        strategies = {reference: given} | dict.fromkeys(beside, none)
        folder = tiny.run.model_dir.parent
        try:
            sources = data or [str(_data(folder, strategies, tiny.run))]
            anima_core.adapt(
                tiny.run.model_dir,
                sources,
                output=folder / "run",
                strategies=strategies,
                **{**_CORE, **core},
            )
        except AnimaError as error:
            _skip_if_it_must(error, cls, strategy, beside=bool(beside), own_data=data is not None)
            raise AssertionError(f"the run failed: {error}") from error
        _check_result(folder / "run")


_CORE: Mapping[str, Any] = {
    "steps": STEPS,
    "batch_size": 4,
    "micro_tokens": 96,
    "dtype": "float32",
    "device": "cpu",
    "learning_rate": 1e-3,
}


def _skip_if_it_must(
    error: AnimaError, cls: Any, strategy: Any, *, beside: bool, own_data: bool
) -> None:
    """Skip a run that failed because of what is missing here, or of a combination refused."""
    from anima_core.testing.hooks import check_answers

    if error.exit_code == DataError.exit_code and "read_data" in cls.slots:
        if beside or not own_data:
            raise SkipTest(f"its reader does not read this data: {error}") from error
    elif error.exit_code == UsageError.exit_code and beside:
        raise SkipTest(f"refused in this company: {error}") from error
    elif error.exit_code == SetupError.exit_code:
        try:
            check_answers(strategy)
        except SkipTest:
            raise
        except Exception:  # noqa: BLE001 - it fails, and lacks nothing: the run's error is told
            return


@contextmanager
def _own_cache() -> Iterator[None]:
    """Keep the reference log-probs of a run that is over in a minute out of the user's cache."""
    before = os.environ.get("ANIMA_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ANIMA_CACHE"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["ANIMA_CACHE"]
            else:
                os.environ["ANIMA_CACHE"] = before


def _data(folder: Path, strategies: Mapping[str, Mapping[str, Any]], run: Any) -> Path:
    """A file of the examples that the loss of these strategies wants."""
    from anima_core.registry.selection import select
    from anima_core.testing.data import write_data

    loss = select(strategies).call("loss", run=run)
    return write_data(folder / "data.jsonl", loss.data)


def _check_result(folder: Path) -> None:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "loss" in row]
    assert len(rows) == STEPS, f"the run took {len(rows)} steps, not {STEPS}"
    for row in rows:
        for what in ("loss", "grad_norm"):
            assert math.isfinite(row[what]), f"{what} is {row[what]} at step {row['step']}"
        assert row["grad_norm"] > 0, f"no gradient at step {row['step']}"
    state = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["state"]
    assert state == "done", f"the run is {state}"
    _check_written(folder)


def _check_written(folder: Path) -> None:
    from anima_core.testing.files import check_safetensors

    results = [path for path in (folder / "adapter", folder / "model") if path.is_dir()]
    assert results, "the run directory holds neither adapter/ nor model/"
    check_safetensors(results[0])
