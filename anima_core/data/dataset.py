"""A data set: records in, encoded examples and what they hold out."""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anima_core.batch import EncodedExample
from anima_core.contracts import Record
from anima_core.data.formats import Kind
from anima_core.data.handling import Handling
from anima_core.data.intake import Intake, chunks
from anima_core.data.overlong import Fitted, fit
from anima_core.data.selection import drawn, hold_out
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
    intake = Intake(tokenizer, kind, handling)
    try:
        for chunk in chunks(records):
            intake.take(chunk)
            if progress:
                progress(len(chunk))
    except DataError as error:  # a source that cannot be read on; a bad record is no such thing
        if handling.skip_bad_records or not intake.faults.total:
            raise
        intake.faults.add(error)
    intake.columns.refuse_missing(", ".join(sources))
    if intake.faults.total and not handling.skip_bad_records:
        raise intake.faults.refusal(sources, intake.records)
    long_enough = [e for e in intake.encoded if e.longest >= handling.min_length]
    short = len(intake.encoded) - len(long_enough)
    fitted = fit(long_enough, limit, overlong)
    if not fitted.examples:
        raise _nothing(sources, intake, short, fitted)
    examples = drawn(fitted.examples, handling.max_examples, handling.seed)
    return examples, DataSummary(
        sources=tuple(sources),
        kind=kind,
        **counts(examples),
        limit=limit,
        overlong=fitted.overlong,
        dropped=fitted.dropped,
        truncated=fitted.truncated,
        unsupervised=intake.unsupervised,
        formats=dict(+intake.formats),
        unread_fields=tuple(intake.unread),
        replaced_fields=tuple(intake.columns.hidden),
        remarks=dict(intake.remarks),
        placeholders=dict(intake.placeholders.open),
        filled=dict(intake.placeholders.filled),
        short=short,
        split=fitted.split,
        not_drawn=len(fitted.examples) - len(examples),
        bad=intake.faults.total,
        bad_records=tuple(intake.faults.listed()),
        bad_kinds=dict(intake.faults.kinds),
    )


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


def _nothing(sources: Sequence[str], intake: Intake, short: int, fitted: Fitted) -> DataError:
    why = []
    if intake.faults.total:
        why.append(f"{intake.faults.total} cannot be used ({intake.faults.counted()[0]})")
    if intake.unsupervised:
        why.append(f"{intake.unsupervised} have nothing to learn from (equal answers)")
    if short:
        why.append(f"{short} are too short")
    if fitted.dropped:
        why.append(f"{fitted.dropped} are too long")
    because = f": {' and '.join(why)}" if why else ""
    fix = "lower --min-length" if short else "give data with something to learn"
    return DataError(
        f"no trainable example among {intake.records} records{because}",
        where=", ".join(sources),
        fix="raise --max-length" if fitted.dropped else fix,
    )
