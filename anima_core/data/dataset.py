"""A data set: records in, encoded examples and what they hold out."""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from anima_core.batch import EncodedExample
from anima_core.contracts import Record
from anima_core.data.encoder import AT_ONCE, Encoder
from anima_core.data.formats import Kind
from anima_core.data.handling import Handling
from anima_core.data.selection import drawn, hold_out
from anima_core.data.tally import Tally
from anima_core.errors import DataError
from anima_core.runs.plan import DataSummary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from anima_core.config.core import Overlong

_DEFAULT = Handling()


def load_dataset(
    records: Iterable[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    kind: Kind,
    limit: int,
    overlong: Overlong,
    sources: Sequence[str],
    handling: Handling = _DEFAULT,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[EncodedExample], DataSummary]:
    """Encode records.

    Args:
        records: records, read as they are needed.
        tokenizer: the model's tokenizer.
        kind: what the loss wants.
        limit: tokens of the longest sequence allowed.
        overlong: what to do with longer ones.
        sources: where the records come from, for the summary.
        handling: what else was asked for.
        progress: called with how many more records are done.

    Returns:
        The examples to train on, in the records' order, and their summary.

    Raises:
        DataError: records are malformed or of another kind (all of them are read first, and the
            error tells of all), a sequence is too long, or there is nothing to learn.
        SetupError: the tokenizer cannot be used.
        UsageError: there is no such format or field, or the loss learns from another kind.
    """
    encoder = Encoder(tokenizer, kind, handling, limit, overlong)
    tally = Tally()
    kept: list[EncodedExample] = []
    try:
        for chunk in chunks(records):
            encoded = encoder.encode(chunk)
            kept += encoded.examples
            tally.merge(encoded.tally)
            if progress:
                progress(len(chunk))
    except DataError as error:  # a source that cannot be read on; a bad record is no such thing
        if handling.skip_bad_records or not tally.faults.total:
            raise
        tally.faults.add(error)
    encoder.columns.refuse_missing(tally.columns, ", ".join(sources))
    if tally.faults.total and not handling.skip_bad_records:
        raise tally.faults.refusal(sources, tally.records)
    if refusal := tally.lengths.refusal(limit, overlong):
        raise refusal
    if not kept:
        raise _nothing(sources, tally)
    examples = drawn(kept, handling.max_examples, handling.seed)
    return examples, DataSummary(
        sources=tuple(sources),
        kind=kind,
        **counts(examples),
        limit=limit,
        overlong=tally.lengths.overlong,
        dropped=tally.lengths.dropped,
        truncated=tally.lengths.truncated,
        unsupervised=tally.unsupervised,
        formats=dict(+tally.formats),
        unread_fields=tuple(tally.unread),
        replaced_fields=tuple(tally.columns.hidden),
        remarks=dict(tally.remarks),
        placeholders=dict(tally.placeholders.open),
        filled=dict(tally.placeholders.filled),
        short=tally.short,
        split=tally.lengths.split,
        not_drawn=len(kept) - len(examples),
        bad=tally.faults.total,
        bad_records=tuple(tally.faults.listed()),
        bad_kinds=dict(tally.faults.kinds),
    )


def chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Some records at a time; those before a failure come before it is raised."""
    stream = iter(records)
    while True:
        chunk: list[Record] = []
        try:
            chunk.extend(islice(stream, AT_ONCE))
        except DataError:
            if chunk:
                yield chunk
            raise
        if not chunk:
            return
        yield chunk


def parted(
    examples: Sequence[EncodedExample], summary: DataSummary, fraction: float, seed: int
) -> tuple[tuple[list[EncodedExample], DataSummary], tuple[list[EncodedExample], DataSummary]]:
    """Examples to train on and examples held out of them, each with its summary.

    Raises:
        DataError: they all have one prompt (see `hold_out`).
    """
    train, held = hold_out(examples, fraction, seed)
    rest = DataSummary(
        sources=summary.sources, kind=summary.kind, limit=summary.limit, **counts(held)
    )
    return (train, replace(summary, **counts(train))), (held, rest)


def counts(examples: Sequence[EncodedExample]) -> dict[str, Any]:
    """What a summary says of the examples themselves."""
    return {
        "examples": len(examples),
        "tokens": sum(example.tokens for example in examples),
        "supervised_tokens": sum(example.supervised for example in examples),
        "longest": max(example.longest for example in examples),
        "sha256": fingerprint(examples),
    }


def fingerprint(examples: Iterable[EncodedExample]) -> str:
    """SHA-256 over ids, masks, roles, parents and weights, in order; files and lines don't count.

    The same on every machine.
    """
    digest = hashlib.sha256()
    for example in examples:
        digest.update(struct.pack("<Id", len(example.segments), example.weight))
        for segment in example.segments:
            head = (len(segment.ids), int(segment.role), segment.parent)
            digest.update(struct.pack("<IIi", *head))
            digest.update(struct.pack(f"<{len(segment.ids)}I", *segment.ids))
            digest.update(array("B", segment.supervised).tobytes())
    return digest.hexdigest()


def _nothing(sources: Sequence[str], tally: Tally) -> DataError:
    why = []
    if tally.faults.total:
        why.append(f"{tally.faults.total} cannot be used ({tally.faults.counted()[0]})")
    if tally.unsupervised:
        why.append(f"{tally.unsupervised} have nothing to learn from (equal answers)")
    if tally.short:
        why.append(f"{tally.short} are too short")
    if tally.lengths.dropped:
        why.append(f"{tally.lengths.dropped} are too long")
    because = f": {' and '.join(why)}" if why else ""
    fix = "lower --min-length" if tally.short else "give data with something to learn"
    return DataError(
        f"no trainable example among {tally.records} records{because}",
        where=", ".join(sources),
        fix="raise --max-length" if tally.lengths.dropped else fix,
    )
