"""An example token by token: what is taught, what is context, what is a special token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anima_core.batch import EncodedExample, Role

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BROKEN = "\ufffd"
_LONGEST = 12
"""Tokens that one character may be made of, at most; four bytes of it, and its neighbours'."""

_ROOM = 480
"""Pieces that an example is shown with, about; more where it has many turns."""


@dataclass(frozen=True)
class Piece:
    """A token, or tokens that are one character only together.

    Attributes:
        text: what it says; with `skipped`, nothing.
        ids: the token ids.
        supervised: whether it is a target.
        special: whether it is a special token.
        skipped: how many tokens are left out here, where it stands for them.
    """

    text: str
    ids: tuple[int, ...]
    supervised: bool
    special: bool = False
    skipped: int = 0


@dataclass(frozen=True)
class SegmentView:
    """A segment of an example.

    Attributes:
        role: ``prompt``, ``completion``, ``chosen`` or ``rejected``.
        tokens, targets: how many it has.
        pieces: what it is made of.
    """

    role: str
    tokens: int
    targets: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class ExampleView:
    """An example, as it is shown.

    Attributes:
        place: its file and line.
        weight: its weight in the loss.
        segments: its segments.
    """

    place: str
    weight: float
    segments: tuple[SegmentView, ...]


class Viewer:
    """Takes examples apart for one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, special: Mapping[int, str]) -> None:
        self._tokenizer = tokenizer
        self._special = special

    def view(self, example: EncodedExample, place: str, room: int = _ROOM) -> ExampleView:
        """An example in pieces, the middles of long parts left out.

        Args:
            example: the example.
            place: its file and line.
            room: about how many pieces each segment may have.
        """
        segments = []
        before: tuple[int, ...] = ()
        for segment in example.segments:
            pieces = list(self.pieces(segment.ids, segment.supervised, before))
            segments.append(
                SegmentView(
                    Role(segment.role).name.lower(),
                    len(segment.ids),
                    sum(segment.supervised),
                    tuple(shortened(pieces, room)),
                )
            )
            if segment.role == Role.PROMPT:
                before = segment.ids[-1:]
        return ExampleView(place, example.weight, tuple(segments))

    def pieces(
        self, ids: Sequence[int], supervised: Sequence[bool], before: tuple[int, ...] = ()
    ) -> Iterator[Piece]:
        """The pieces of some tokens.

        Args:
            ids: token ids.
            supervised: which of them are targets.
            before: the token before the first one, if any; white space at a piece's begin may be
                seen only behind another.
        """
        at = 0
        while at < len(ids):
            stop = at + 1
            text = self._text(before, tuple(ids[at:stop]))
            while (
                text.endswith(_BROKEN)
                and stop < len(ids)
                and stop - at < _LONGEST
                and supervised[stop] == supervised[at]
                and ids[stop] not in self._special
            ):
                stop += 1
                text = self._text(before, tuple(ids[at:stop]))
            if stop - at == _LONGEST:  # no character at all: each token stands for itself
                stop, text = at + 1, self._text(before, (ids[at],))
            group = tuple(ids[at:stop])
            special = ids[at] in self._special
            text = self._special[ids[at]] if special else text
            yield Piece(text, group, bool(supervised[at]), special)
            before, at = group, stop

    def _text(self, before: tuple[int, ...], ids: tuple[int, ...]) -> str:
        if not before or before[-1] in self._special:
            # A special token's own text may be written with space around it.
            before = ()
        head, whole = (self._decode(tokens) for tokens in (before, before + ids))
        return whole.removeprefix(head) if whole.startswith(head) else self._decode(ids)

    def _decode(self, ids: tuple[int, ...]) -> str:
        if not ids:
            return ""
        text = self._tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(text)


def shortened(pieces: Sequence[Piece], room: int) -> Iterator[Piece]:
    """Leave out the middle of every long run of targets or of context, never a run's ends.

    Args:
        pieces: the pieces of a segment.
        room: about how many may be left.
    """
    runs = list(_runs(pieces))
    own = max(room // max(len(runs), 1), 16)
    for run in runs:
        if len(run) <= own + own // 2:  # to leave out a few would save nothing
            yield from run
            continue
        head, tail = own - own // 3, own // 3
        middle = run[head : len(run) - tail]
        yield from run[:head]
        yield Piece("", (), run[0].supervised, skipped=sum(len(p.ids) for p in middle))
        yield from run[len(run) - tail :]


def _runs(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    run: list[Piece] = []
    for piece in pieces:
        if run and piece.supervised != run[-1].supervised:
            yield run
            run = []
        run.append(piece)
    if run:
        yield run
