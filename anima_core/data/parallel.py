"""Many records are worked on by all cores; what comes of it is what one process makes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain, islice
from typing import Any, Generic, TypeVar

from anima_core.contracts import Record
from anima_core.data.chunks import Chunk, chunks
from anima_core.data.encoder import Encoder
from anima_core.data.rows import Packed, pack
from anima_core.data.tally import Tally
from anima_core.errors import DataError

Made = tuple[Packed, Tally]
T = TypeVar("T")

FIRST = 4096
"""Records that are encoded in this process before others are started: it takes seconds."""

UNCOPIED = (pickle.PicklingError, TypeError, AttributeError)
"""What is raised where something cannot be copied into another process."""

_work: list[Callable[[Chunk], Any]] = []  # a worker's own


def encode_all(
    records: Iterable[Record],
    encoder: Encoder,
    note: Callable[[str], None],
    *,
    workers: int | None = None,
    first: int = FIRST,
) -> Iterator[Made]:
    """Encode records, on all cores where there are many.

    Args:
        records: any number of them, read as they are needed.
        encoder: encodes them.
        note: told why only one core is used where that was not meant.
        workers: how many processes; by default one for each core that this process may use.
        first: how many records are encoded before processes are started.

    Yields:
        Rows and counts, in the records' order: the same ones however many processes there are.

    Raises:
        DataError: reading failed; all that was read before has been yielded.
        SetupError: the tokenizer cannot be used.
    """
    yield from work_on_all(records, partial(encoded, encoder), note, workers=workers, first=first)


def work_on_all(
    records: Iterable[Record],
    work: Callable[[Chunk], T],
    note: Callable[[str], None],
    *,
    workers: int | None = None,
    first: int = FIRST,
) -> Iterator[T]:
    """Do something with all records, on all cores where there are many.

    Args:
        records: any number of them, read as they are needed.
        work: what is done with some of them; it and its results are copied between processes.
        note: told why only one core is used where that was not meant.
        workers: how many processes; by default one for each core that this process may use.
        first: how many records are worked on before processes are started.

    Yields:
        What comes of each chunk, in the records' order.

    Raises:
        DataError: reading failed; all that was read before has been yielded.
    """
    stream = chunks(records)
    taken = 0
    while taken < first:
        chunk = next(stream, None)
        if chunk is None:
            return
        taken += len(chunk)
        yield work(chunk)
    workers = cores() if workers is None else workers
    ahead = list(islice(stream, 1))
    rest = chain(ahead, stream)
    if ahead and workers > 1:
        try:
            whole = pickle.dumps(work)
        except UNCOPIED as error:
            note(f"records are encoded on one core: the tokenizer cannot be copied ({error})")
        else:
            yield from _Pool(work, whole, workers, note).run(rest)
            return
    for chunk in rest:
        yield work(chunk)


def encoded(encoder: Encoder, chunk: Chunk) -> Made:
    """Rows and counts of some records."""
    made = encoder.encode(chunk)
    return pack(made.examples, encoder.special if made.examples else ()), made.tally


def cores() -> int:
    """Cores for this process: those it may use, shared with a run's others on this machine."""
    try:
        there = len(os.sched_getaffinity(0))
    except AttributeError:  # no Linux
        there = os.cpu_count() or 1
    return max(1, there // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class _Pool(Generic[T]):
    """Processes that work, with a bounded number of chunks on their way."""

    def __init__(
        self, work: Callable[[Chunk], T], copy: bytes, workers: int, note: Callable[[str], None]
    ) -> None:
        self._work = work
        self._note = note
        self._most = 2 * workers
        self._waiting: deque[tuple[Chunk, Future[T] | None]] = deque()
        self._broken = False
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, context, _begin, (copy,))

    def run(self, stream: Iterable[Chunk]) -> Iterator[T]:
        """What comes of the chunks, in their order; as `work_on_all`."""
        failed: DataError | None = None
        try:
            try:
                for chunk in stream:
                    self._waiting.append((chunk, self._submitted(chunk)))
                    if len(self._waiting) > self._most:
                        yield self._oldest()
            except DataError as error:
                failed = error
            while self._waiting:
                yield self._oldest()
        finally:
            # Workers do not hear Ctrl-C: they finish the chunk at hand, and take no other.
            self._pool.shutdown(cancel_futures=True)
        if failed:
            raise failed

    def _submitted(self, chunk: Chunk) -> Future[T] | None:
        if not self._broken:
            try:
                return self._pool.submit(_worked, chunk)
            except BrokenProcessPool:
                self._breaks()
        return None

    def _oldest(self) -> T:
        chunk, future = self._waiting.popleft()
        if future and not self._broken:
            try:
                return future.result()
            except BrokenProcessPool:
                self._breaks()
            except UNCOPIED:  # records that cannot be sent are encoded where they are
                pass
        return self._work(chunk)

    def _breaks(self) -> None:
        self._broken = True
        self._note(
            "records are encoded on one core: the processes for the others ended too early (a "
            'script that trains wants `if __name__ == "__main__":` around it)'
        )


def refuse_unguarded() -> None:
    """Refuse to encode anything while a process that is to encode for another only starts.

    Raises:
        RuntimeError: its script trains as it is imported, without a guard around it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError('put `if __name__ == "__main__":` around what your script does')


def _begin(copy: bytes) -> None:
    """A worker's start."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # each worker is a core already
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work.append(pickle.loads(copy))  # noqa: S301 - this run's own, by way of its memory


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _worked(chunk: Chunk) -> Any:
    return _work[0](chunk)
