"""Records in, encoded examples out: a function of the records alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anima_core.batch import EncodedExample, TokenSegment
from anima_core.contracts import Record
from anima_core.data.chat import Renderer
from anima_core.data.formats import Example, Format, Kind, fields_of, named, to_example
from anima_core.data.handling import Handling
from anima_core.data.overlong import fit
from anima_core.data.placeholders import Placeholders
from anima_core.data.renamed import Columns
from anima_core.data.selection import group_of
from anima_core.data.special_text import SpecialTexts
from anima_core.data.tally import Tally
from anima_core.data.template import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from anima_core.config.core import Overlong

AT_ONCE = 256
"""Records a call of the tokenizer; more is no faster."""


@dataclass(frozen=True)
class Encoded:
    """What came of some records. It can be pickled, and holds none of their text.

    Attributes:
        examples: the examples, in the records' order, within the limit.
        tally: what was counted on the way.
    """

    examples: list[EncodedExample]
    tally: Tally


class Encoder:
    """Makes encoded examples of records. What it makes of some does not depend on others.

    Args:
        tokenizer: the model's tokenizer.
        kind: what the loss wants.
        handling: what else was asked for.
        limit: tokens of the longest sequence allowed.
        overlong: what to do with longer ones.

    Raises:
        SetupError: the tokenizer cannot be used.
        UsageError: there is no such format or field, or the loss learns from another kind.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        kind: Kind,
        handling: Handling,
        limit: int,
        overlong: Overlong,
    ) -> None:
        self.columns = Columns(handling.columns)
        self._placeholders = Placeholders(handling.fill)
        self._handling = handling
        self._kind = kind
        self._limit = limit
        self._overlong = overlong
        self._render = Renderer(tokenizer)
        self._special = SpecialTexts(self._render)
        self._format()

    @property
    def special(self) -> Collection[int]:
        """Ids of the tokens that end a turn or a text."""
        return self._render.special.keys()

    def encode(self, records: Sequence[Record]) -> Encoded:
        """Encode some records, bring them within the limit, and count.

        Args:
            records: any number of them; what is counted and in which order does not depend on
                how a data set is cut up, as long as it is cut at multiples of `AT_ONCE`.

        Raises:
            SetupError: the tokenizer cannot be used.
        """
        tally = Tally()
        kept: list[EncodedExample] = []
        for start in range(0, len(records), AT_ONCE):
            some = self.examples(records[start : start + AT_ONCE], tally)
            encoded = self.encoded(some, tally)
            enough = [e for _, e in encoded if e.longest >= self._handling.min_length]
            tally.short += len(encoded) - len(enough)
            kept += fit(enough, self._limit, self._overlong, tally.lengths)
        tally.weighted += sum(any(s.weights for s in e.segments) for e in kept)
        return Encoded(kept, tally)

    def examples(self, records: Sequence[Record], tally: Tally) -> list[Example]:
        """What some records say, placeholders filled; `tally` counts, and notes their faults."""
        tally.records += len(records)
        return list(self._examples(records, tally))

    def encoded(
        self, examples: Sequence[Example], tally: Tally
    ) -> list[tuple[Example, EncodedExample]]:
        """Examples as tokens, whatever their length.

        Args:
            examples: as `examples` gave them.
            tally: counts formats and what is left out for having nothing to learn, and notes the
                faults of those that the chat template refuses.

        Returns:
            Those that can be learnt from, in order, each with its tokens.

        Raises:
            SetupError: the tokenizer cannot be used.
        """
        tally.formats.update(example.format for example in examples)
        # A pair of equal answers prefers nothing: its gradient is zero under any such loss.
        useful = [e for e in examples if not e.chosen or e.chosen != e.rejected]
        tally.unsupervised += len(examples) - len(useful)
        made: list[tuple[Example, EncodedExample]] = []
        rows = encode(self._render, useful, tally.faults.add, self._handling.train_on)
        for example, segments in zip(useful, rows, strict=True):
            if not segments:
                tally.formats[example.format] -= 1
            elif _teaches(segments):
                place = (example.file, example.line, group_of(example))
                made.append((example, EncodedExample(segments, example.weight, *place)))
            else:
                tally.unsupervised += 1
        return made

    def _format(self) -> Format | None:
        name = self._handling.format
        return named(name, self._kind) if name else None

    def _examples(self, records: Sequence[Record], tally: Tally) -> Iterator[Example]:
        known = self._format()
        for record in records:
            with tally.faults.noting():
                if record.fault:
                    raise record.fault
                renamed = self.columns.rename(record, tally.columns)
                example = to_example(renamed, self._kind, known)
                _note_unread(renamed, example, tally)
                tally.remarks.update(example.remarks)
                filled = self._placeholders.fill(example, tally.placeholders)
                self._special.note(filled, tally.special)
                yield filled


def _note_unread(record: Record, example: Example, tally: Tally) -> None:
    """A field that holds something and is not read would be lost without a word."""
    read = fields_of(example.format)
    for field, value in record.fields.items():
        if field not in read and value not in (None, "", [], {}):
            tally.unread[str(field)] = None


def _teaches(segments: Sequence[TokenSegment]) -> bool:
    """Whether there is a target in every segment that should have one, and a pair differs."""
    if len(segments) == 1:
        return any(segments[0].supervised)
    _, chosen, rejected = segments
    return any(chosen.supervised) and any(rejected.supervised) and chosen.ids != rejected.ids
