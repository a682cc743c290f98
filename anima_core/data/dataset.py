"""A data set: records in, encoded examples and what they hold out."""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Literal

from anima_core.batch import EncodedExample, TokenSegment
from anima_core.contracts import Record
from anima_core.data.chat import Renderer
from anima_core.data.formats import FIELDS, Kind, to_example
from anima_core.data.overlong import Fitted, fit
from anima_core.data.template import encode
from anima_core.errors import DataError
from anima_core.runs.plan import DataSummary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_AT_ONCE = 256  # records a call of the tokenizer; more is no faster


def load_dataset(
    records: Iterable[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    kind: Kind,
    limit: int,
    overlong: Literal["error", "drop", "truncate"],
    sources: Sequence[str],
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
        progress: called with how many more records are done.

    Returns:
        The examples to train on, in the records' order, and their summary.

    Raises:
        DataError: a record is malformed or of another kind, a sequence is too long, or there
            is nothing to learn.
        SetupError: the tokenizer cannot be used.
    """
    render = Renderer(tokenizer)
    formats: Counter[str] = Counter()
    unread: dict[str, None] = {}
    encoded: list[EncodedExample] = []
    unsupervised = 0
    pool: dict[int, int] = {}
    stream = iter(records)
    while chunk := list(islice(stream, _AT_ONCE)):
        for record in chunk:
            if record.fault:
                raise record.fault
        examples = [to_example(record, kind) for record in chunk]
        for record in chunk:
            unread |= dict.fromkeys(str(f) for f in record.fields if f not in FIELDS)
        formats.update(example.format for example in examples)
        # A pair of equal answers prefers nothing: its gradient is zero under any such loss.
        useful = [e for e in examples if not e.chosen or e.chosen != e.rejected]
        for example, segments in zip(useful, encode(render, useful), strict=True):
            if _teaches(segments):
                compact = tuple(_compact(segment, pool) for segment in segments)
                encoded.append(EncodedExample(compact, example.weight, example.file, example.line))
        unsupervised += len(examples)
        if progress:
            progress(len(chunk))
    unsupervised -= len(encoded)
    fitted = fit(encoded, limit, overlong)
    if not fitted.examples:
        raise _nothing(sources, sum(formats.values()), unsupervised, fitted)
    return fitted.examples, DataSummary(
        sources=tuple(sources),
        kind=kind,
        examples=len(fitted.examples),
        tokens=sum(example.tokens for example in fitted.examples),
        supervised_tokens=sum(example.supervised for example in fitted.examples),
        longest=max(example.longest for example in fitted.examples),
        limit=limit,
        overlong=fitted.overlong,
        dropped=fitted.dropped,
        truncated=fitted.truncated,
        unsupervised=unsupervised,
        formats=dict(formats),
        unread_fields=tuple(unread),
        sha256=fingerprint(fitted.examples),
    )


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


def _nothing(sources: Sequence[str], records: int, unsupervised: int, fitted: Fitted) -> DataError:
    why = []
    if unsupervised:
        why.append(f"{unsupervised} have nothing to learn from (equal answers)")
    if fitted.dropped:
        why.append(f"{fitted.dropped} are too long")
    counts = f": {' and '.join(why)}" if why else ""
    return DataError(
        f"no trainable example among {records} records{counts}",
        where=", ".join(sources),
        fix="raise --max-length" if fitted.dropped else "give data with something to learn",
    )
