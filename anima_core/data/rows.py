"""Encoded examples as rows of an Arrow table, and back.

| column | holds |
|---|---|
| ids, supervised | tokens of all segments of the example, one after the other |
| segments | for each of them: size, role, parent, and whether its tokens have weights |
| weights | weights of the tokens of those that have some |
| weight, file, line, group | as the example's; `file` is an index into a list of names |
| margin | as the example's |
| tokens … ends | what is known of it without a look at its tokens (see `store.Columns`) |
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from anima_core.batch import EncodedExample, Role, TokenSegment
from anima_core.data.pair_key import pair_key, prompt_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

HASH = 16
"""Bytes of a hash of an example, or of its answer."""


@dataclass(frozen=True)
class Packed:
    """Some examples as rows.

    Attributes:
        batch: a `pyarrow.RecordBatch` of `schema`.
        files: the names that its `file` column points to.
    """

    batch: Any
    files: tuple[str, ...]


@cache
def schema() -> Any:
    """The columns (a `pyarrow.Schema`)."""
    import pyarrow as pa

    segment = pa.struct(
        [
            ("size", pa.int32()),
            ("role", pa.int8()),
            ("parent", pa.int32()),
            ("weighted", pa.bool_()),
        ]
    )
    return pa.schema(
        [
            ("ids", pa.list_(pa.int32())),
            ("supervised", pa.list_(pa.bool_())),
            ("segments", pa.list_(segment)),
            ("weights", pa.list_(pa.float64())),
            ("weight", pa.float64()),
            ("file", pa.int32()),
            ("line", pa.int64()),
            ("group", pa.uint64()),
            ("tokens", pa.int32()),
            ("longest", pa.int32()),
            ("targets", pa.int32()),
            ("digest", pa.binary(HASH)),
            ("answer", pa.binary(HASH)),
            ("ends", pa.bool_()),
            ("margin", pa.float64()),
            ("pair", pa.uint64()),
            ("asked", pa.uint64()),
        ]
    )


def pack(examples: Sequence[EncodedExample], special: Collection[int] = ()) -> Packed:
    """Lay some examples out as rows.

    Args:
        examples: any number of them.
        special: ids of the tokens that end a turn or a text.
    """
    import pyarrow as pa

    names: dict[str, int] = {}
    segments = [segment for example in examples for segment in example.segments]
    sizes = np.array([len(s.ids) for s in segments], np.int32)
    ids = np.fromiter(chain.from_iterable(s.ids for s in segments), np.int32, int(sizes.sum()))
    mask = np.fromiter(chain.from_iterable(s.supervised for s in segments), np.bool_, len(ids))
    weights = np.fromiter(chain.from_iterable(s.weights for s in segments), np.float64)
    per_row = _Offsets.of([len(example.segments) for example in examples])
    tokens = _Offsets.of([example.tokens for example in examples])
    weighted = _Offsets.of([sum(len(s.weights) for s in e.segments) for e in examples])
    each: dict[str, NDArray[Any]] = {
        "size": sizes,
        "role": np.array([s.role for s in segments], np.int8),
        "parent": np.array([s.parent for s in segments], np.int32),
        "weighted": np.array([bool(s.weights) for s in segments], np.bool_),
    }
    row_weights = np.array([example.weight for example in examples], np.float64)
    # Data without a margin has the hashes that it would have if there were no margins.
    numbers = [(e.weight, e.margin) if e.margin else (e.weight,) for e in examples]
    hashes = [
        _hashes(row, numbers[row], per_row, tokens, weighted, each, ids, mask, weights)
        for row in range(len(examples))
    ]
    struct = pa.StructArray.from_arrays(
        [pa.array(column) for column in each.values()],
        fields=list(schema().field("segments").type.value_type),
    )
    columns = [
        pa.ListArray.from_arrays(tokens.arrow(), pa.array(ids)),
        pa.ListArray.from_arrays(tokens.arrow(), pa.array(mask)),
        pa.ListArray.from_arrays(per_row.arrow(), struct),
        pa.ListArray.from_arrays(weighted.arrow(), pa.array(weights)),
        pa.array(row_weights),
        pa.array([names.setdefault(e.file, len(names)) for e in examples], pa.int32()),
        pa.array([example.line for example in examples], pa.int64()),
        pa.array([example.group for example in examples], pa.uint64()),
        pa.array(np.diff(tokens.starts).astype(np.int32)),
        pa.array([example.longest for example in examples], pa.int32()),
        pa.array(_summed(mask, tokens)),
        pa.array([digest for digest, _ in hashes], pa.binary(HASH)),
        pa.array([answer for _, answer in hashes], pa.binary(HASH)),
        pa.array(_summed(_open_ends(ids, mask, sizes, special), tokens) == 0),
        pa.array([example.margin for example in examples], pa.float64()),
        pa.array([pair_key(example) for example in examples], pa.uint64()),
        pa.array([prompt_key(example) for example in examples], pa.uint64()),
    ]
    return Packed(pa.RecordBatch.from_arrays(columns, schema=schema()), tuple(names))


@dataclass(frozen=True)
class _Offsets:
    """Where each row's part of a flat array begins, and where the last one ends."""

    starts: NDArray[np.int64]

    @classmethod
    def of(cls, sizes: Sequence[int]) -> _Offsets:
        return cls(np.concatenate([[0], np.cumsum(np.array(sizes, np.int64))]).astype(np.int64))

    def slice(self, row: int) -> slice:
        return slice(int(self.starts[row]), int(self.starts[row + 1]))

    def arrow(self) -> Any:
        import pyarrow as pa

        return pa.array(self.starts.astype(np.int32))


def _summed(flags: NDArray[np.bool_], rows: _Offsets) -> NDArray[np.int32]:
    """How many flags of each row are set."""
    total = np.concatenate([[0], np.cumsum(flags)])
    return np.asarray(np.diff(total[rows.starts]), np.int32)


def _open_ends(
    ids: NDArray[np.int32],
    mask: NDArray[np.bool_],
    sizes: NDArray[np.int32],
    special: Collection[int],
) -> NDArray[np.bool_]:
    """The tokens that are the last target of an answer and end neither a turn nor a text."""
    followed = np.append(mask[1:], [False])
    followed[np.cumsum(sizes) - 1] = False  # nothing follows a segment's last token in it
    ends = mask & ~followed
    return np.asarray(ends & ~np.isin(ids, np.array(sorted(special), np.int32)))


def _hashes(
    row: int,
    numbers: tuple[float, ...],
    segments: _Offsets,
    tokens: _Offsets,
    weighted: _Offsets,
    each: dict[str, NDArray[Any]],
    ids: NDArray[np.int32],
    mask: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> tuple[bytes, bytes]:
    """A hash of all that training sees of a row, and one of its targets; the same everywhere."""
    own, learnt = ids[tokens.slice(row)], mask[tokens.slice(row)]
    parts = [np.array(numbers, "<f8"), *(c[segments.slice(row)] for c in each.values())]
    parts += [own, learnt, weights[weighted.slice(row)]]
    whole = hashlib.blake2b(digest_size=HASH)
    for part in parts:
        whole.update(part.astype(part.dtype.newbyteorder("<"), copy=False).tobytes())
    answer = hashlib.blake2b(own[learnt].astype("<i4", copy=False).tobytes(), digest_size=HASH)
    return whole.digest(), answer.digest()


class Unpacker:
    """Reads single rows of one record batch, without a copy of the others.

    Args:
        batch: a `pyarrow.RecordBatch` of `schema`.
        files: the names that its `file` column points to.
    """

    def __init__(self, batch: Any, files: Sequence[str]) -> None:
        ids, self._mask, segments, weights = (batch.column(i) for i in range(4))
        self._starts = ids.offsets.to_numpy()
        self._ids = ids.values.to_numpy()
        self._segment_starts = segments.offsets.to_numpy()
        self._segments = segments.values
        self._weight_starts = weights.offsets.to_numpy()
        self._weights = weights.values.to_numpy()
        self._batch = batch
        self._files = files

    def __getitem__(self, row: int) -> EncodedExample:
        start, stop = int(self._starts[row]), int(self._starts[row + 1])
        ids = tuple(self._ids[start:stop].tolist())
        flat = self._mask.values.slice(start, stop - start)
        mask = tuple(flat.to_numpy(zero_copy_only=False).tolist())
        first, last = self._segment_starts[row], self._segment_starts[row + 1]
        weights = self._weights[self._weight_starts[row] : self._weight_starts[row + 1]].tolist()
        made: list[TokenSegment] = []
        at = weighted = 0
        for segment in self._segments.slice(first, last - first).to_pylist():
            end, size = at + segment["size"], segment["size"]
            own = tuple(weights[weighted : weighted + size]) if segment["weighted"] else ()
            role = Role(segment["role"])
            made.append(TokenSegment(ids[at:end], mask[at:end], role, segment["parent"], own))
            at, weighted = end, weighted + len(own)
        weight, file, line, group = (self._batch.column(i)[row].as_py() for i in range(4, 8))
        margin = self._batch.column("margin")[row].as_py()
        return EncodedExample(tuple(made), weight, self._files[file], line, group, margin)
