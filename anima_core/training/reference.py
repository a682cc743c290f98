"""Reference log-probs: computed once before the first update, and cached on disk.

There is never a second model in memory: the policy is its own reference before it is trained, and
another model is freed before the policy is loaded. With several processes each computes every
world-th micro-batch, and all of them get the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anima_core.data.batching import lengths_of, micro_batches
from anima_core.errors import InterruptedRunError
from anima_core.training.ranks import is_main, local_rank, rank_and_world
from anima_core.training.reference_cache import PartWriter, ReferenceEntry
from anima_core.training.reference_near import cached_otherwise
from anima_core.training.reference_pass import Forward
from anima_core.training.talk import add_tensor, exchange, together

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anima_core.batch import Batch, EncodedExample
    from anima_core.runs.reporter import Reporter
    from anima_core.training.signals import StopSignal

PART_SECONDS = 15.0
"""How much of a pass may be lost when its process is killed."""

STAGE = "reference log-probs"

LogpsOf = Callable[["Batch"], torch.Tensor]
"""Log-probs of a batch's targets, ``[S]``; called without a gradient."""


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


@dataclass(frozen=True)
class Asked:
    """Which log-probs are wanted, and how they are to be computed.

    Attributes:
        examples: the data set.
        rows: the examples whose log-probs will be asked for; those of others are NaN.
        facts: everything that the log-probs depend on; a hash of it is the cache's key.
        device: where batches go.
        tokens: tokens in flight at once.
        any_cut: whether fewer of them, where memory is full, change no log-prob; what was computed
            otherwise than `facts` say is not kept.
        cache: whether they are looked for on the disk, and kept there.
        name: of the stage, for the reporter.
        told: what an entry of the cache says of itself beside the facts.
    """

    examples: Sequence[EncodedExample]
    rows: Sequence[int]
    facts: Mapping[str, Any]
    device: str
    tokens: int
    any_cut: bool = True
    cache: bool = True
    name: str = STAGE
    told: Mapping[str, Any] = field(default_factory=dict)


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
    asked: Asked,
    logps_of: Callable[[], LogpsOf],
    reporter: Reporter,
    stop: StopSignal,
) -> Reference:
    """Read the reference log-probs from the cache, or compute and cache them.

    Called by every process of a run; what one machine's cache lacks is computed by all.

    Args:
        asked: what is wanted.
        logps_of: called when something is to be computed, and not before; gives what computes it.
        reporter: hears of the progress.
        stop: looked at between micro-batches.
    """
    counts = targets_of(asked.examples)
    starts = starts_of(counts)
    entry = ReferenceEntry(asked.facts, starts, asked.told) if asked.cache else None
    logps = _read(entry, reporter)
    everywhere = all(exchange(logps is not None))
    if logps is not None and everywhere:
        reporter.note("reference log-probs read from the cache")
        return Reference(logps, counts)
    if logps is None and entry is not None and (other := cached_otherwise(entry)):
        reporter.note(f"{asked.name} are cached for {other}: computed for this run")
    made, as_asked = _compute(asked, starts, entry, logps_of, reporter, stop)
    if all(exchange(as_asked)):
        together(lambda: _write(entry, made, reporter) if local_rank() == 0 else None)
    elif entry is not None:
        fewer = "in 16 bits those of fewer tokens at once are others"
        reporter.note(f"the reference log-probs are not all kept for later runs: {fewer}")
    reporter.note("reference log-probs computed")
    return Reference(made, counts)


def _read(entry: ReferenceEntry | None, reporter: Reporter) -> torch.Tensor | None:
    if entry is None:
        return None
    try:
        return entry.read()
    except ValueError as error:
        reporter.note(f"the cached reference log-probs cannot be used ({error}): computed anew")
        if local_rank() == 0:
            entry.drop()
        return None


def _write(entry: ReferenceEntry | None, logps: torch.Tensor, reporter: Reporter) -> None:
    if entry is None:
        return
    try:
        entry.write(logps)
    except OSError as error:
        reporter.warn(f"the reference log-probs could not be kept for later runs: {error}")


def _compute(
    asked: Asked,
    starts: NDArray[np.int64],
    entry: ReferenceEntry | None,
    logps_of: Callable[[], LogpsOf],
    reporter: Reporter,
    stop: StopSignal,
) -> tuple[torch.Tensor, bool]:
    """All log-probs, ``[T]``: those that a broken pass left, and the rest computed.

    And whether this process computed its share as it was asked to.
    """
    logps = torch.zeros(int(starts[-1]), dtype=torch.float32)

    def put(values: Mapping[int, torch.Tensor]) -> None:
        for row, part in values.items():
            logps[starts[row] : starts[row + 1]] = part

    left = _left_by_a_broken_pass(entry, reporter)
    put(left)
    done = _done(left, len(asked.examples))
    todo = _cut(asked, done)
    as_asked = True
    before = int(done[np.asarray(asked.rows, np.int64)].sum())
    if before:
        reporter.note(f"{before} of {len(asked.rows)} examples were computed before")
    if todo:
        compute = Forward(asked.examples, logps_of(), asked.device, asked.tokens, reporter)
        with _saying_that_it_goes_on(entry), PartWriter(entry, PART_SECONDS) as parts:
            for values in _passed(asked.name, todo, before, compute, reporter, stop):
                put(values)
                as_asked = asked.any_cut or compute.tokens == asked.tokens
                if as_asked:
                    parts.add(values)
    logps = add_tensor(logps)
    for row in np.setdiff1d(np.arange(len(asked.examples)), asked.rows):
        logps[starts[row] : starts[row + 1]] = float("nan")
    return logps, as_asked


def _passed(
    name: str,
    todo: Sequence[Sequence[int]],
    before: int,
    compute: Forward,
    reporter: Reporter,
    stop: StopSignal,
) -> Iterator[dict[int, torch.Tensor]]:
    """This process's share of the micro-batches, one by one."""
    rank, world = rank_and_world()
    with reporter.stage(name, before + sum(map(len, todo[rank::world]))) as tell:
        tell(before)
        for first in range(0, len(todo), world):
            stop.raise_if_asked()
            for rows in todo[first : first + world][rank : rank + 1]:
                yield compute(rows)
                tell(len(rows))


@contextmanager
def _saying_that_it_goes_on(entry: ReferenceEntry | None) -> Iterator[None]:
    """Say of a pass that is interrupted that nothing of it is lost."""
    try:
        yield
    except InterruptedRunError as error:
        if entry is not None:
            error.fix = "Run the same command again: the reference log-probs go on from here."
        raise


def _left_by_a_broken_pass(
    entry: ReferenceEntry | None, reporter: Reporter
) -> Mapping[int, torch.Tensor]:
    """What the first process finds; the others count on it, and so no row counts twice."""

    def find() -> tuple[dict[int, torch.Tensor], int]:
        return entry.read_parts() if entry is not None and is_main() else ({}, 0)

    found, damaged = together(find)
    if damaged:
        reporter.note(f"{damaged} parts of the reference log-probs cannot be used: computed anew")
    return found


def _done(found: Mapping[int, torch.Tensor], count: int) -> NDArray[np.bool_]:
    """Which examples are done, as every process is to see it."""
    mine = torch.zeros(count, dtype=torch.int32)
    mine[list(found)] = 1
    done: NDArray[np.bool_] = add_tensor(mine).numpy() > 0
    return done


def _cut(asked: Asked, done: NDArray[np.bool_]) -> list[list[int]]:
    """The rows of each micro-batch that is not done.

    They are cut as if nothing were done, so that a pass that goes on computes what the whole one
    would have, bit for bit.
    """
    lengths = lengths_of(asked.examples)
    cut = micro_batches([int(lengths[row]) for row in asked.rows], asked.tokens)
    left = [[asked.rows[i] for i in part if not done[asked.rows[i]]] for part in cut]
    return [rows for rows in left if rows]
