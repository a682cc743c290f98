"""Records in, encoded examples out, and everything counted on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from anima_core.batch import EncodedExample, TokenSegment
from anima_core.contracts import Record
from anima_core.data.chat import Renderer
from anima_core.data.faults import Faults
from anima_core.data.formats import Example, Kind, fields_of, named, to_example
from anima_core.data.handling import Handling
from anima_core.data.placeholders import Placeholders
from anima_core.data.renamed import Columns
from anima_core.data.selection import group_of
from anima_core.data.template import encode
from anima_core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_AT_ONCE = 256  # records a call of the tokenizer; more is no faster


def chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Some records at a time; those before a failure come before it is raised."""
    stream = iter(records)
    while True:
        chunk: list[Record] = []
        try:
            chunk.extend(islice(stream, _AT_ONCE))
        except DataError:
            if chunk:
                yield chunk
            raise
        if not chunk:
            return
        yield chunk


class Intake:
    """Takes records and keeps what can be learnt from them.

    Attributes:
        encoded: the examples, in the records' order.
        faults: the records that cannot be used.
        records: how many came.
        formats: how many usable records came in each format.
        unread: fields that were not read, in the order in which they came up.
        remarks: how many records were read otherwise than they stand there, by sentence.
        placeholders: what was filled, and what was not.
        columns: the columns that were renamed.
        unsupervised: examples left out since they have nothing to learn from.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, kind: Kind, handling: Handling) -> None:
        self.encoded: list[EncodedExample] = []
        self.faults = Faults()
        self.records = 0
        self.formats: Counter[str] = Counter()
        self.unread: dict[str, None] = {}
        self.unsupervised = 0
        self.remarks: Counter[str] = Counter()
        self.placeholders = Placeholders(handling.fill)
        self.columns = Columns(handling.columns)
        self._format = named(handling.format, kind) if handling.format else None
        self._train_on = handling.train_on
        self._kind = kind
        self._render = Renderer(tokenizer)
        self._pool: dict[int, int] = {}

    def take(self, chunk: Sequence[Record]) -> None:
        """Encode some records.

        Raises:
            SetupError: the tokenizer cannot be used.
        """
        self.records += len(chunk)
        examples = list(self._examples(chunk))
        self.formats.update(example.format for example in examples)
        # A pair of equal answers prefers nothing: its gradient is zero under any such loss.
        useful = [e for e in examples if not e.chosen or e.chosen != e.rejected]
        self.unsupervised += len(examples) - len(useful)
        encoded = encode(self._render, useful, self.faults.add, self._train_on)
        for example, segments in zip(useful, encoded, strict=True):
            if not segments:
                self.formats[example.format] -= 1
            elif _teaches(segments):
                compact = tuple(_compact(segment, self._pool) for segment in segments)
                place = (example.file, example.line, group_of(example))
                self.encoded.append(EncodedExample(compact, example.weight, *place))
            else:
                self.unsupervised += 1

    def _examples(self, chunk: Sequence[Record]) -> Iterator[Example]:
        for record in chunk:
            with self.faults.noting():
                if record.fault:
                    raise record.fault
                renamed = self.columns.rename(record)
                example = to_example(renamed, self._kind, self._format)
                self._note_unread(renamed, example)
                self.remarks.update(example.remarks)
                yield self.placeholders.fill(example)

    def _note_unread(self, record: Record, example: Example) -> None:
        """A field that holds something and is not read would be lost without a word."""
        read = fields_of(example.format)
        for field, value in record.fields.items():
            if field not in read and value not in (None, "", [], {}):
                self.unread[str(field)] = None


def _teaches(segments: Sequence[TokenSegment]) -> bool:
    """Whether there is a target in every segment that should have one, and a pair differs."""
    if len(segments) == 1:
        return any(segments[0].supervised)
    _, chosen, rejected = segments
    return any(chosen.supervised) and any(rejected.supervised) and chosen.ids != rejected.ids


def _compact(segment: TokenSegment, pool: dict[int, int]) -> TokenSegment:
    """The segment with one integer object per token id in the whole data set: 8 bytes a token."""
    ids = tuple(map(pool.setdefault, segment.ids, segment.ids))
    return TokenSegment(ids, segment.supervised, segment.role, segment.parent)
