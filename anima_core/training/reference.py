"""Reference log-probs: computed once, by the model as training starts, and cached on disk.

There is never a second model in memory: before the first update, the policy is the reference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from anima_core.cache import cache_root, whole_folder

if TYPE_CHECKING:
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
        self._parts = logps.split(list(counts))

    def of(self, batch: Batch) -> torch.Tensor:
        """The log-probs of a batch's targets, ``[S]`` float32."""
        parts = [self._parts[row] for row in batch.rows]
        return torch.cat(parts).to(batch.ids.device)


def reference_for(
    examples: Sequence[EncodedExample],
    facts: Mapping[str, Any],
    module: Any,
    *,
    device: str,
    micro_tokens: int,
    reporter: Reporter,
    stop: StopSignal,
) -> Reference:
    """Read the reference log-probs from the cache, or compute and cache them.

    Args:
        examples: the data set.
        facts: everything that the log-probs depend on; a hash of it is the cache's key.
        module: what runs the model; called without a gradient, in evaluation mode.
        device: where batches go.
        micro_tokens: tokens in flight at once.
        reporter: hears of the progress.
        stop: looked at between micro-batches.
    """
    counts = [example.supervised for example in examples]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    folder = cache_root() / "reference" / key
    logps = _read(folder, sum(counts))
    if logps is None:
        logps = _compute(examples, counts, module, device, micro_tokens, reporter, stop)
        _write(folder, logps, facts)
        reporter.note("reference log-probs computed")
    else:
        reporter.note("reference log-probs read from the cache")
    return Reference(logps, counts)


def _compute(
    examples: Sequence[EncodedExample],
    counts: Sequence[int],
    module: Any,
    device: str,
    micro_tokens: int,
    reporter: Reporter,
    stop: StopSignal,
) -> torch.Tensor:
    from anima_core.training.step import cut

    starts = [0, *accumulate(counts)]
    logps = torch.empty(starts[-1], dtype=torch.float32)
    module.eval()
    with torch.no_grad(), reporter.stage("reference log-probs", len(examples)) as done:
        for batch in cut(examples, range(len(examples)), micro_tokens):
            stop.raise_if_asked()
            values = module(batch.to(device), None, False).float().cpu()
            for row, part in zip(
                batch.rows, values.split([counts[r] for r in batch.rows]), strict=True
            ):
                logps[starts[row] : starts[row + 1]] = part
            done(batch.examples)
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
