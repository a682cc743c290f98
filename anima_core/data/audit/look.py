"""Look at records: encode them as training does, and note what there is to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anima_core.batch import EncodedExample
from anima_core.contracts import Record
from anima_core.data.audit import roundtrip
from anima_core.data.audit.contents import is_broken, last_answer
from anima_core.data.audit.drawn import Drawn
from anima_core.data.audit.noted import Noted
from anima_core.data.audit.observed import Observed
from anima_core.data.audit.rows import ROW, answer_key, row_of
from anima_core.data.chat import Renderer
from anima_core.data.encoder import Encoder
from anima_core.data.formats import Example
from anima_core.data.limits import side
from anima_core.data.place import place
from anima_core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from anima_core.config.core import Overlong, TrainOn

EXCERPT = 120
"""Characters of an answer that are remembered."""


@dataclass(frozen=True)
class Asked:
    """What an audit is asked.

    Attributes:
        overlong: what is done with examples over a limit.
        train_on: what of a dialogue is learnt.
        min_length: shorter examples are left out.
        show: how many examples to show, drawn by `seed`.
        seed: see there.
        records: places of records to show in any case: ``file:line``, or a line alone.
    """

    overlong: Overlong = "error"
    train_on: TrainOn = "assistant"
    min_length: int = 0
    show: int = 0
    seed: int = 0
    records: tuple[str, ...] = ()


class Looker:
    """Looks at records. What it sees of some does not depend on others.

    Args:
        tokenizer: the model's tokenizer.
        encoder: makes examples of records, as for training.
        asked: what to look for.

    Attributes:
        special: the texts of the special tokens, by id.

    Raises:
        SetupError: the tokenizer cannot be used.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, encoder: Encoder, asked: Asked) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._asked = asked
        self._render = Renderer(tokenizer)
        self.special = special_tokens(tokenizer)
        self._end = roundtrip.end_pattern(list(self.special.values()))

    def look(self, records: Sequence[Record], source: int = 0) -> Observed:
        """Encode some records and note what there is to see.

        Args:
            records: some records.
            source: index of the source that they are of.

        Raises:
            SetupError: the tokenizer cannot be used.
        """
        seen = Observed(Drawn(self._asked.show, self._asked.seed))
        examples = self._encoder.examples(records, seen.tally)
        idle = seen.tally.unsupervised
        pairs = self._encoder.encoded(examples, seen.tally)
        self._note_idle(seen, examples, pairs, seen.tally.unsupervised - idle)
        enough = [pair for pair in pairs if pair[1].longest >= self._asked.min_length]
        seen.tally.short += len(pairs) - len(enough)
        rows = []
        for example, encoded in enough:
            kept = self._fitted(seen, example, encoded)
            file = seen.file(encoded.file)
            rows.append(row_of(encoded, kept, source, file, example.label))
            self._note(seen, example, encoded)
        if rows:
            seen.blocks.append(np.array(rows, ROW))
        self._read_back(seen, enough)
        return seen

    def _fitted(
        self, seen: Observed, example: Example, encoded: EncodedExample
    ) -> EncodedExample | None:
        """The example as a run has it."""
        by = side(encoded, self._encoder.limits.length)
        return seen.over.take(
            encoded,
            place(encoded.file, encoded.line) + (f" ({by})" if by else ""),
            self._encoder.limits,
            self._asked.overlong,
            lambda: self._encoder.shorter(example, encoded),
        )

    def _note(self, seen: Observed, example: Example, encoded: EncodedExample) -> None:
        where = place(encoded.file, encoded.line)
        whole = bool(example.text) or self._asked.train_on == "all"
        seen.endings.take(encoded, where, self._render.special, whole=whole)
        if is_broken(example):
            seen.broken.add(where)
        seen.answers.add(answer_key(encoded), last_answer(example)[:EXCERPT])
        seen.drawn.take(encoded)
        if any(_is_at(encoded, asked) for asked in self._asked.records):
            seen.asked.append(encoded)

    def _note_idle(
        self,
        seen: Observed,
        examples: Sequence[Example],
        pairs: Sequence[tuple[Example, EncodedExample]],
        count: int,
    ) -> None:
        """Say why examples have nothing to learn from, as far as they say it themselves."""
        if not count:
            return
        made = {id(example) for example, _ in pairs}
        told = 0
        for example in examples:
            reason = "" if id(example) in made else why_idle(example, self._asked.train_on)
            if reason:
                told += 1
                seen.idle.setdefault(reason, Noted()).add(place(example.file, example.line))
        if told < count:
            seen.idle.setdefault("no token of them is a target", Noted()).count += count - told

    def _read_back(self, seen: Observed, pairs: Sequence[tuple[Example, EncodedExample]]) -> None:
        """Decode the tokens and compare them with what the template writes."""
        ids = [roundtrip.sequences(encoded) for _, encoded in pairs]
        rows = [row for sequences in ids for row in sequences]
        said = iter(roundtrip.decoded(self._tokenizer, rows) if rows else ())
        for (example, encoded), sequences in zip(pairs, ids, strict=True):
            own = [next(said) for _ in sequences]
            try:
                texts = roundtrip.texts_of(self._render, example)
            except DataError:  # it was written once already, and then it was not refused
                continue
            for decoded, text in zip(own, texts, strict=True):
                seen.trip.take(decoded, text, self._end, place(encoded.file, encoded.line))


def why_idle(example: Example, train_on: TrainOn) -> str:
    """Why nothing can be learnt from an example; empty where that cannot be told from it."""
    if example.chosen:
        return "the two answers are equal" if example.chosen == example.rejected else ""
    learnt = [is_learnt(m) for m in example.messages if m["role"] == "assistant"]
    if learnt and not any(learnt):
        return "every answer says train: false, or weight: 0"
    if learnt and train_on == "last" and not learnt[-1]:
        return (
            "the last answer says train: false, or weight: 0, and --train-on last learns no other"
        )
    return ""


def is_learnt(message: dict[str, object]) -> bool:
    """Whether a message is learnt, as far as it says so itself."""
    return message.get("train", True) is not False and message.get("weight", 1) != 0


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The texts of all special tokens, by id."""
    added = tokenizer.added_tokens_decoder.items()
    own = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    return {**dict(own), **{index: t.content for index, t in added if t.special}}


def _is_at(example: EncodedExample, asked: str) -> bool:
    if asked.isdigit():
        return example.line == int(asked)
    return asked == f"{example.file}:{example.line}"
