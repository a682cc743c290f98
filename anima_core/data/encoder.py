"""Records in, encoded examples out: a function of the records alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anima_core.batch import EncodedExample, TokenSegment
from anima_core.contracts import Record
from anima_core.data.chat import Renderer
from anima_core.data.formats import Example, Format, Kind, fields_of, named, to_examples
from anima_core.data.formats.preferences import PART_EARLY
from anima_core.data.handling import Handling
from anima_core.data.limits import Limits
from anima_core.data.overlong import fit
from anima_core.data.place import place
from anima_core.data.placeholders import Placeholders
from anima_core.data.renamed import Columns
from anima_core.data.selection import group_of
from anima_core.data.shorten import Shortener
from anima_core.data.special_text import SpecialTexts
from anima_core.data.tally import Tally
from anima_core.data.template import encode
from anima_core.errors import DataError, UsageError

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
        limit: tokens of the longest sequence allowed; `handling` may limit prompts and answers.
        overlong: what to do with longer ones.

    Attributes:
        limits: the longest that is allowed.

    Raises:
        SetupError: the tokenizer cannot be used.
        UsageError: there is no such format or field, the loss learns from another kind, or
            ``split`` is asked for beside a limit of prompts or answers.
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
        self.limits = _limits(handling, kind, limit, overlong)
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
            enough = [pair for pair in encoded if pair[1].longest >= self._handling.min_length]
            tally.short += len(encoded) - len(enough)
            kept += self._fitting(enough, tally)
        tally.weighted += sum(any(s.weights for s in e.segments) for e in kept)
        tally.margined += sum(e.margin > 0 for e in kept)
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
        tally.formats.update(example.format for example in examples if not example.part)
        # A pair of equal answers prefers nothing: its gradient is zero under any such loss.
        useful = [e for e in examples if not e.chosen or e.chosen != e.rejected]
        tally.unsupervised += len(examples) - len(useful)
        for example in examples:
            if example.chosen and example.chosen == example.rejected:
                tally.equal.add(place(example.file, example.line))
        made: list[tuple[Example, EncodedExample]] = []
        rows = encode(self._render, useful, tally.faults.add, self._handling.train_on)
        for example, segments in zip(useful, rows, strict=True):
            if not segments:
                tally.formats[example.format] -= not example.part
            elif _teaches(segments):
                origin = (example.file, example.line, group_of(example))
                own = EncodedExample(segments, example.weight, *origin, margin=example.margin)
                made.append((example, own))
            else:
                tally.unsupervised += 1
                if len(segments) == 3 and segments[1].ids == segments[2].ids:
                    tally.equal.add(place(example.file, example.line))
        return made

    def _fitting(
        self, pairs: Sequence[tuple[Example, EncodedExample]], tally: Tally
    ) -> list[EncodedExample]:
        return fit(
            [encoded for _, encoded in pairs],
            self.limits,
            self._overlong,
            tally.lengths,
            lambda index: self.shorter(*pairs[index]),
        )

    def shorter(self, example: Example, encoded: EncodedExample) -> EncodedExample | None:
        """An example over a limit, made short enough with the template and the answers whole.

        Args:
            example: as `examples` gave it.
            encoded: as `encoded` made it.

        Returns:
            What is left; None where it does not fit, and for plain text.
        """
        answer = self.limits.excess(self.limits.sizes(encoded)).answer
        if example.text or answer > 0:
            return None

        def again(shortened: Example) -> EncodedExample | None:
            (segments,) = encode(self._render, [shortened], _ignore, self._handling.train_on)
            there = segments and _teaches(segments)
            return replace(encoded, segments=segments) if there else None

        return Shortener(self._render.tokenizer, self.limits, again).shorten(example)

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
                examples = to_examples(renamed, self._kind, known)
                _note_unread(renamed, examples[0], tally)
                for example in examples:
                    tally.remarks.update(example.remarks)
                    if PART_EARLY in example.remarks:
                        tally.apart.add(place(example.file, example.line))
                    filled = self._placeholders.fill(example, tally.placeholders)
                    self._special.note(_own_part(filled), tally.special)
                    yield filled


def _limits(handling: Handling, kind: Kind, limit: int, overlong: Overlong) -> Limits:
    asked = {
        "--max-prompt-length": handling.max_prompt_length,
        "--max-answer-length": handling.max_answer_length,
    }
    for flag, value in asked.items():
        if value is not None and overlong == "split":
            raise UsageError(
                "only plain text is split, which has neither prompt nor answer",
                where=flag,
                fix="Leave it out, or say --overlong drop or truncate.",
            )
    if kind == "completion" and handling.train_on == "all":  # then all of it is an answer
        return Limits(limit)
    return Limits(limit, *asked.values())


def _own_part(example: Example) -> Example:
    """What an example says that those before it of the same record did not."""
    return (
        replace(example, messages=example.messages[-example.judged :]) if example.part else example
    )


def _ignore(_: DataError) -> None:
    """What a template refuses of a shorter dialogue does not make it a bad record."""


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
    _, *answers = segments
    differ = len({answer.ids for answer in answers}) == len(answers)
    return differ and all(any(answer.supervised) for answer in answers)
