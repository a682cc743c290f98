"""A batch is a set of segments laid end to end, never a padded rectangle.

    ids       p p p p | c c c | r r r r | s s s s s
    segment   0 0 0 0 | 1 1 1 | 2 2 2 2 | 3 3 3 3 3
    parent      -     |   0   |    0    |    -          1 and 2 continue 0
    position  0 1 2 3 | 4 5 6 | 4 5 6 7 | 0 1 2 3 4

This module imports no torch: tensors appear in annotations only.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class Role(IntEnum):
    """What a segment is to its example.

    An example of unpaired feedback has one answer: CHOSEN where it is a good one, REJECTED where
    it is not. MISMATCHED is the answer of another example, to another prompt.
    """

    PROMPT = 0
    COMPLETION = 1
    CHOSEN = 2
    REJECTED = 3
    MISMATCHED = 4


class Segment(NamedTuple):
    """One run of tokens ``ids[start:stop]``.

    Attributes:
        start: index of its first token in the batch.
        stop: one past its last token.
        parent: index of the segment that it continues, or -1. A parent has no parent itself,
            stands before its continuations, and is attended to in full by each of them.
    """

    start: int
    stop: int
    parent: int = -1


@dataclass(frozen=True)
class TokenSegment:
    """A segment of an encoded example, before it is laid into a batch.

    Attributes:
        ids: token ids.
        supervised: for each token, whether it is a target (the model is taught to predict it).
        role: what the segment is to its example.
        parent: index, within the example, of the segment that it continues, or -1.
        weights: for each token, the weight of its message in the loss, by which the example's is
            multiplied; finite and >= 0, above 0 for a target. Empty means all 1.
    """

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    role: Role = Role.COMPLETION
    parent: int = -1
    weights: tuple[float, ...] = ()

    def part(self, start: int, stop: int | None = None) -> TokenSegment:
        """The tokens from `start` to `stop` as a root, whose first token nothing predicts."""
        cut = slice(start, stop)
        supervised = (False, *self.supervised[cut][1:])
        return replace(
            self, ids=self.ids[cut], supervised=supervised, weights=self.weights[cut], parent=-1
        )


@dataclass(frozen=True)
class EncodedExample:
    """One example as token segments.

    Attributes:
        segments: its segments, parents before their continuations.
        weight: its weight in the loss.
        file: the file it came from.
        line: the line (or 1-based record number) it came from.
        group: a number that examples which ask the same share; they are held out together.
        margin: by how much the better answer of a pair is the better one, as the data says;
            finite and >= 0, 0 where it says nothing.
    """

    segments: tuple[TokenSegment, ...]
    weight: float = 1.0
    file: str = ""
    line: int = 0
    group: int = 0
    margin: float = 0.0

    @property
    def tokens(self) -> int:
        """How many tokens go through the model (a shared prompt once)."""
        return sum(len(segment.ids) for segment in self.segments)

    @property
    def longest(self) -> int:
        """The longest sequence: a continuation counts together with its parent."""
        return max(
            len(s.ids) + (len(self.segments[s.parent].ids) if s.parent >= 0 else 0)
            for s in self.segments
        )

    @property
    def supervised(self) -> int:
        """How many tokens are targets."""
        return sum(sum(segment.supervised) for segment in self.segments)


@dataclass(frozen=True)
class Batch:
    """Examples as tensors: N tokens, S of them supervised, E examples.

    Attributes:
        ids: token ids, ``[N]`` int64.
        positions: position of each token in its own sequence, ``[N]`` int64; a continuation's
            positions go on where its parent's end.
        example: index (0 … E-1) of each token's example, ``[N]`` int64.
        segment: index of each token's segment in `layout`, ``[N]`` int64.
        role: `Role` of each token's segment, ``[N]`` int64.
        supervised: whether each token is a target, ``[N]`` bool.
        weights: weight of each example, ``[E]`` float32.
        target_weights: weight of each supervised token, ``[S]`` float32: that of its example times
            that of its message.
        margins: by how much the better answer of each pair is the better one, ``[E]`` float32; 0
            where the data says nothing.
        sources: for each supervised token, the index of the token whose hidden state predicts
            it, ``[S]`` int64: the token before it, or its parent's last.
        layout: the segments' boundaries and parents.
        rows: for each example, its number in the data set; keys of cached reference log-probs.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    example: torch.Tensor
    segment: torch.Tensor
    role: torch.Tensor
    supervised: torch.Tensor
    weights: torch.Tensor
    target_weights: torch.Tensor
    margins: torch.Tensor
    sources: torch.Tensor
    layout: tuple[Segment, ...]
    rows: tuple[int, ...]

    @property
    def examples(self) -> int:
        """E, the number of examples."""
        return len(self.rows)

    @property
    def tokens(self) -> int:
        """N, the number of tokens."""
        return int(self.ids.shape[0])

    @property
    def targets(self) -> torch.Tensor:
        """The supervised tokens' ids, ``[S]`` int64, in batch order, as log-probs come."""
        return self.ids[self.supervised]

    @property
    def target_example(self) -> torch.Tensor:
        """For each supervised token, its example, ``[S]`` int64."""
        return self.example[self.supervised]

    @property
    def target_role(self) -> torch.Tensor:
        """For each supervised token, its role, ``[S]`` int64."""
        return self.role[self.supervised]

    def per_example(self, values: torch.Tensor, role: Role | None = None) -> torch.Tensor:
        """Sum values of supervised tokens by example.

        Args:
            values: ``[S]``, any floating dtype.
            role: count the tokens of this role only; every role when None.

        Returns:
            ``[E]``, of values' dtype; 0 for an example without such a token. Differentiable.
        """
        if role is not None:
            values = values * (self.target_role == int(role)).to(values.dtype)
        return values.new_zeros(self.examples).index_add(0, self.target_example, values)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved = {
            f.name: getattr(self, f.name).to(device)
            for f in fields(self)
            if f.name not in ("layout", "rows")
        }
        return replace(self, **moved)
