"""Lay encoded examples end to end as one `Batch`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from math import isfinite

import torch

from anima_core.batch import Batch, EncodedExample, Segment, TokenSegment


def collate(examples: Sequence[EncodedExample], rows: Sequence[int]) -> Batch:
    """Lay some examples of a data set end to end.

    Args:
        examples: the whole data set (or any sequence that `rows` index).
        rows: which of them, in this order: ``collate(dataset, step_rows(...))``. They become
            ``Batch.rows``.

    Returns:
        A batch on the CPU: N tokens in the order of `rows`, segments in the order of each example.

    Raises:
        ValueError: no rows; a row out of range; an empty segment; ids and mask, or ids and weights,
            of different lengths; a target's weight that is not a finite number above 0; a parent
            that does not stand before its continuation or has a parent itself; or a root segment
            whose first token is supervised (nothing predicts it).
    """
    if not rows:
        raise ValueError("a batch needs at least one example")
    out = _Columns()
    for number, row in enumerate(rows):
        if not 0 <= row < len(examples):
            raise ValueError(f"row {row} is outside of a data set of {len(examples)} examples")
        try:
            out.add(number, examples[row])
        except ValueError as error:
            example = examples[row]
            raise ValueError(f"row {row} ({example.file}:{example.line}): {error}") from None
    return out.batch(tuple(rows))


class _Columns:
    """The columns of a batch while it grows."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.example: list[int] = []
        self.segment: list[int] = []
        self.role: list[int] = []
        self.supervised: list[bool] = []
        self.sources: list[int] = []
        self.weights: list[float] = []
        self.target_weights: list[float] = []
        self.margins: list[float] = []
        self.layout: list[Segment] = []

    def add(self, number: int, example: EncodedExample) -> None:
        first = len(self.layout)
        self.weights.append(example.weight)
        self.margins.append(example.margin)
        for index, segment in enumerate(example.segments):
            start, size = len(self.ids), len(segment.ids)
            if not size:
                raise ValueError(f"segment {index} is empty")
            if len(segment.supervised) != size:
                raise ValueError(
                    f"segment {index} has {size} ids and a mask of {len(segment.supervised)}"
                )
            self.target_weights += _target_weights(index, segment, example.weight)
            parent, offset, before_first = -1, 0, -1
            if segment.parent >= 0:
                if segment.parent >= index or example.segments[segment.parent].parent >= 0:
                    raise ValueError(
                        f"segment {index} continues {segment.parent}, not a root before it"
                    )
                parent = first + segment.parent
                offset = self.layout[parent].stop - self.layout[parent].start
                before_first = self.layout[parent].stop - 1
            elif segment.supervised[0]:
                raise ValueError(f"the first token of root segment {index} cannot be a target")
            self.ids.extend(segment.ids)
            self.positions.extend(range(offset, offset + size))
            self.example.extend([number] * size)
            self.segment.extend([len(self.layout)] * size)
            self.role.extend([int(segment.role)] * size)
            self.supervised.extend(segment.supervised)
            self.sources.extend(
                start + i - 1 if i else before_first
                for i, wanted in enumerate(segment.supervised)
                if wanted
            )
            self.layout.append(Segment(start, start + size, parent))

    def batch(self, rows: tuple[int, ...]) -> Batch:
        def integers(values: list[int]) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.int64)

        return Batch(
            ids=integers(self.ids),
            positions=integers(self.positions),
            example=integers(self.example),
            segment=integers(self.segment),
            role=integers(self.role),
            supervised=torch.tensor(self.supervised, dtype=torch.bool),
            weights=torch.tensor(self.weights, dtype=torch.float32),
            target_weights=torch.tensor(self.target_weights, dtype=torch.float32),
            margins=torch.tensor(self.margins, dtype=torch.float32),
            sources=integers(self.sources),
            layout=tuple(self.layout),
            rows=rows,
        )


def _target_weights(index: int, segment: TokenSegment, example: float) -> list[float]:
    """The weight of each of a segment's targets, its example's times its own."""
    if not segment.weights:
        return [example] * sum(segment.supervised)
    if len(segment.weights) != len(segment.ids):
        raise ValueError(
            f"segment {index} has {len(segment.ids)} ids and {len(segment.weights)} weights"
        )
    own = list(compress(segment.weights, segment.supervised))
    for weight in own:
        if not (isfinite(weight) and weight > 0):
            raise ValueError(f"a target of segment {index} has the weight {weight}")
    return [example * weight for weight in own]
