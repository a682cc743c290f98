"""Encoded examples in a file that is looked into, never read whole.

Memory holds some 100 bytes an example: the columns that choose, order and count. A row's tokens
are decoded when it is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from anima_core.batch import EncodedExample
from anima_core.data.rows import HASH, Packed, Unpacker, pack, schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS = 1024
"""Rows of each record batch in a file but the last."""


@dataclass(frozen=True)
class Columns:
    """What is known of each example without a look at its tokens; arrays of one length.

    Attributes:
        tokens: tokens that go through the model (a shared prompt once), int32.
        longest: tokens of its longest sequence, int32.
        supervised: tokens that are targets, int32.
        group: examples that ask the same share it, uint64.
        digest: hash of all that training sees of it: ids, masks, roles, parents and weights, not
            file or line. ``S16``.
        answer: hash of its targets' ids, ``S16``.
        ends: whether each answer's last target ends a turn or the text, bool.
        source: which of the sources it came from, int32.
        prompt: tokens of its first segment, int32: of the prompt, where answers continue it.
        pair: what pairs with the same prompt and answers share, whichever was chosen (see
            `pair_key`), uint64.
        asked: what examples with the same prompt share, where answers continue it (see
            `prompt_key`), uint64; `group` looks at the user's first words alone.
        answers: tokens of a pair's chosen and rejected answer, ``[E, 2]`` int32.
        verdict: the `Role` of its first answer, int8: of unpaired feedback, whether it is good.
        weight: its weight in the loss, float64.
    """

    tokens: NDArray[np.int32]
    longest: NDArray[np.int32]
    supervised: NDArray[np.int32]
    group: NDArray[np.uint64]
    digest: NDArray[np.bytes_]
    answer: NDArray[np.bytes_]
    ends: NDArray[np.bool_]
    source: NDArray[np.int32]
    prompt: NDArray[np.int32]
    verdict: NDArray[np.int8]
    pair: NDArray[np.uint64]
    asked: NDArray[np.uint64]
    answers: NDArray[np.int32]
    weight: NDArray[np.float64]

    def take(self, rows: NDArray[np.int64]) -> Columns:
        """Those of some rows."""
        return Columns(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """Those of several parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class Store:
    """One file of examples, or the same in memory.

    Args:
        place: the Arrow IPC file, or a buffer that holds it.
        files: the names that its rows' `file` points to.
        source: which of the sources it is.
        keep: kept for as long as the file is looked into, e.g. a temporary folder.
    """

    def __init__(
        self, place: Path | Any, files: Sequence[str], source: int = 0, keep: object = None
    ) -> None:
        import pyarrow as pa

        mapped = pa.memory_map(str(place)) if isinstance(place, Path) else pa.BufferReader(place)
        self._reader = pa.ipc.open_file(mapped)
        self._files = tuple(files)
        self._source = source
        self._keep = keep
        self._unpacker = lru_cache(maxsize=256)(self._unpacked)
        counts = [batch.num_rows for batch in self._batches()]
        self.rows = sum(counts)

    def __getitem__(self, row: int) -> EncodedExample:
        number, within = divmod(row, ROWS)
        return self._unpacker(number)[within]

    @cached_property
    def columns(self) -> Columns:
        """The columns of all rows, in memory."""
        batches = list(self._batches())
        return Columns(
            _numbers(batches, "tokens", np.int32),
            _numbers(batches, "longest", np.int32),
            _numbers(batches, "targets", np.int32),
            _numbers(batches, "group", np.uint64),
            _hashes(batches, "digest"),
            _hashes(batches, "answer"),
            _numbers(batches, "ends", np.bool_),
            np.full(self.rows, self._source, np.int32),
            _of_segments(batches, "size", 0, np.int32),
            _of_segments(batches, "role", 1, np.int8),
            _numbers(batches, "pair", np.uint64),
            _numbers(batches, "asked", np.uint64),
            np.stack([_of_segments(batches, "size", n, np.int32) for n in (1, 2)], axis=1),
            _numbers(batches, "weight", np.float64),
        )

    def _batches(self) -> Iterator[Any]:
        return (self._reader.get_batch(i) for i in range(self._reader.num_record_batches))

    def _unpacked(self, number: int) -> Unpacker:
        return Unpacker(self._reader.get_batch(number), self._files)


def _numbers(batches: Sequence[Any], name: str, dtype: Any) -> NDArray[Any]:
    parts = [batch.column(name).to_numpy(zero_copy_only=False) for batch in batches]
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)


def _of_segments(batches: Sequence[Any], name: str, number: int, dtype: Any) -> NDArray[Any]:
    """What is known of one segment of each row: the one of that number, or the last."""
    parts = [np.empty(0, dtype)]
    for batch in batches:
        segments = batch.column("segments")
        starts = segments.offsets.to_numpy()
        wanted = np.minimum(starts[:-1] + number, starts[1:] - 1)
        parts.append(segments.values.field(name).to_numpy(zero_copy_only=False)[wanted])
    return np.concatenate(parts).astype(dtype, copy=False)


def _hashes(batches: Sequence[Any], name: str) -> NDArray[np.bytes_]:
    kind = np.dtype(f"S{HASH}")
    parts = [np.empty(0, kind)]
    for batch in batches:
        column = batch.column(name)
        whole = np.frombuffer(column.buffers()[1], kind)
        parts.append(whole[column.offset : column.offset + len(column)])
    return np.concatenate(parts)


class Examples(Sequence[EncodedExample]):
    """The examples of one or several sources, in order, or some of them.

    Args:
        stores: where they are.
        rows: which of them, in which order, int64; a row may come more than once. All of them
            when None.
    """

    def __init__(self, stores: Sequence[Store], rows: NDArray[np.int64] | None = None) -> None:
        self._stores = tuple(stores)
        self._first = np.cumsum([0, *(store.rows for store in stores)])
        self._rows = rows

    @classmethod
    def of(cls, examples: Iterable[EncodedExample], special: Collection[int] = ()) -> Examples:
        """Examples that are held in memory.

        Args:
            examples: any number of them.
            special: ids of the tokens that end a turn or a text.
        """
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        stream = iter(examples)
        with Writer(sink) as writer:
            while some := list(islice(stream, ROWS)):
                writer.write(pack(some, special))
        return cls([Store(sink.getvalue(), writer.files)])

    def __len__(self) -> int:
        return int(self._first[-1]) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, row: int) -> EncodedExample: ...
    @overload
    def __getitem__(self, row: slice) -> Examples: ...
    def __getitem__(self, row: int | slice) -> EncodedExample | Examples:
        if isinstance(row, slice):
            return self.select(np.arange(len(self))[row])
        return self._at(range(len(self))[row])

    def _at(self, row: int) -> EncodedExample:
        """The example of a row that is there, counted from the first."""
        at = row if self._rows is None else int(self._rows[row])
        store = int(np.searchsorted(self._first, at, "right")) - 1
        return self._stores[store][at - int(self._first[store])]

    @cached_property
    def columns(self) -> Columns:
        """What is known of each example, in memory."""
        whole = Columns.joined([store.columns for store in self._stores])
        return whole if self._rows is None else whole.take(self._rows)

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Examples:
        """Some of the examples, in a given order; their tokens stay where they are."""
        wanted = np.asarray(rows, np.int64)
        if self._rows is not None:
            wanted = self._rows[wanted]
        return Examples(self._stores, wanted)

    def fingerprint(self) -> str:
        """SHA-256 over the examples' hashes, in order: the same on every machine."""
        return hashlib.sha256(self.columns.digest.tobytes()).hexdigest()


class Writer:
    """Writes examples into an Arrow IPC file, batch by batch of `ROWS`, however they come.

    Args:
        sink: a path, or an Arrow stream.
        files: names that rows may point to; others are added as they come.
    """

    def __init__(self, sink: Path | Any, files: Sequence[str] = ()) -> None:
        import pyarrow as pa

        self.rows = 0
        self._names = {name: index for index, name in enumerate(dict.fromkeys(files))}
        self._waiting: list[Any] = []
        place = str(sink) if isinstance(sink, Path) else sink
        self._writer = pa.ipc.new_file(place, schema())

    @property
    def files(self) -> tuple[str, ...]:
        """The names that rows point to."""
        return tuple(self._names)

    def write(self, packed: Packed) -> None:
        """Write some examples behind those before."""
        import pyarrow as pa

        own = [self._names.setdefault(name, len(self._names)) for name in packed.files]
        batch = packed.batch
        if batch.num_rows and own != list(range(len(own))):
            at = schema().get_field_index("file")
            moved = np.array(own, np.int32)[batch.column(at).to_numpy()]
            columns = [*batch.columns[:at], pa.array(moved), *batch.columns[at + 1 :]]
            batch = pa.RecordBatch.from_arrays(columns, schema=schema())
        self._waiting.append(batch)
        self.rows += batch.num_rows
        while sum(waiting.num_rows for waiting in self._waiting) >= ROWS:
            self._flush()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and any(waiting.num_rows for waiting in self._waiting):
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        whole = pa.Table.from_batches(self._waiting, schema()).combine_chunks()
        first, rest = whole.slice(0, ROWS), whole.slice(ROWS)
        self._writer.write_table(first.combine_chunks(), max_chunksize=ROWS)
        self._waiting = rest.combine_chunks().to_batches() if rest.num_rows else []
