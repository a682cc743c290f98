"""Reference log-probs: computed once, by the model as training starts, and cached on disk.

There is never a second model in memory: before the first update, the policy is the reference.
With several processes each computes every world-th micro-batch, and all of them get the whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anima_core.cache import cache_root, whole_folder
from anima_core.training.ranks import local_rank, rank_and_world
from anima_core.training.talk import add_tensor, exchange, together

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anima_core.batch import Batch, EncodedExample
    from anima_core.runs.reporter import Reporter
    from anima_core.training.signals import StopSignal

FILE = "logps.safetensors"


class Reference:
    """Reference log-probs by example.

    Args:
        logps: of every supervised token of the data set, ``[T]`` float32, example by example.
        counts: supervised tokens of each example.
    """

    def __init__(self, logps: torch.Tensor, counts: Sequence[int]) -> None:
        self._logps = logps
        self._starts = starts_of(counts)

    def of(self, batch: Batch) -> torch.Tensor:
        """The log-probs of a batch's targets, ``[S]`` float32."""
        parts = [self._logps[self._starts[row] : self._starts[row + 1]] for row in batch.rows]
        return torch.cat(parts).to(batch.ids.device)


def starts_of(counts: Sequence[int]) -> NDArray[np.int64]:
    """Where each example's log-probs begin among those of all, and where the last ones end."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def targets_of(examples: Any) -> Sequence[int]:
    """Targets of each example of a data set, without decoding them where it keeps their numbers."""
    columns = getattr(examples, "columns", None)
    if columns is not None:
        supervised: Sequence[int] = columns.supervised
        return supervised
    return [example.supervised for example in examples]


def reference_for(
    examples: Sequence[EncodedExample],
    facts: Mapping[str, Any],
    module: Any,
    *,
    rows: Sequence[int],
    device: str,
    micro_tokens: int,
    reporter: Reporter,
    stop: StopSignal,
) -> Reference:
    """Read the reference log-probs from the cache, or compute and cache them.

    Called by every process of a run; what one machine's cache lacks is computed by all.

    Args:
        examples: the data set.
        facts: everything that the log-probs depend on; a hash of it is the cache's key.
        module: what runs the model; called without a gradient, in evaluation mode.
        rows: the examples whose log-probs will be asked for; those of others are NaN.
        device: where batches go.
        micro_tokens: tokens in flight at once.
        reporter: hears of the progress.
        stop: looked at between micro-batches.
    """
    counts = targets_of(examples)
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    folder = cache_root() / "reference" / key
    logps = _read(folder, int(np.sum(counts)))
    everywhere = all(exchange(logps is not None))
    if logps is not None and everywhere:
        reporter.note("reference log-probs read from the cache")
        return Reference(logps, counts)
    made = _compute(examples, rows, module, device, micro_tokens, reporter, stop)
    together(lambda: _write(folder, made, facts) if local_rank() == 0 else None)
    reporter.note("reference log-probs computed")
    return Reference(made, counts)


def _compute(
    examples: Sequence[EncodedExample],
    rows: Sequence[int],
    module: Any,
    device: str,
    micro_tokens: int,
    reporter: Reporter,
    stop: StopSignal,
) -> torch.Tensor:
    from anima_core.training.step import cut

    counts = targets_of(examples)
    starts = starts_of(counts)
    logps = torch.zeros(int(starts[-1]), dtype=torch.float32)
    rank, world = rank_and_world()
    batches = cut(examples, rows, micro_tokens)
    own = sum(batch.examples for batch in batches[rank::world])
    module.eval()
    with torch.no_grad(), reporter.stage("reference log-probs", own) as done:
        for first in range(0, len(batches), world):
            stop.raise_if_asked()
            for batch in batches[first : first + world][rank : rank + 1]:
                values = module(batch.to(device), None, "targets").float().cpu()
                for row, part in zip(
                    batch.rows, values.split([int(counts[r]) for r in batch.rows]), strict=True
                ):
                    logps[starts[row] : starts[row + 1]] = part
                done(batch.examples)
    logps = add_tensor(logps)
    for row in np.setdiff1d(np.arange(len(counts)), rows):
        logps[starts[row] : starts[row + 1]] = float("nan")
    return logps


def _read(folder: Path, count: int) -> torch.Tensor | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        logps = load_file(folder / FILE)["logps"]
    except (OSError, KeyError, SafetensorError):
        return None
    return logps if logps.shape == (count,) else None


def _write(folder: Path, logps: torch.Tensor, facts: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    with whole_folder(folder) as aside:
        save_file({"logps": logps}, aside / FILE)
        (aside / "facts.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
