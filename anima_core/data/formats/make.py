"""One example of one record."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from anima_core.contracts import Record
from anima_core.data.field import bad_field, shown
from anima_core.data.formats import parts
from anima_core.data.formats.example import Example, Kind
from anima_core.data.formats.known import Format, detect
from anima_core.data.formats.refusals import lacking, unknown
from anima_core.data.place import place
from anima_core.data.tools import tools_of
from anima_core.errors import DataError

UNPAIRED = "a pair of answers, taken as a good one and a bad one by themselves"
"""What is remarked of a pair whose answers are wanted unpaired."""


def to_example(record: Record, kind: Kind, known: Format | None = None) -> Example:
    """Make an example of a record.

    Args:
        record: the record.
        kind: what the loss wants.
        known: the format to read it in; found by the record's fields when None.

    Raises:
        DataError: a field is missing or malformed, or the record is of the other kind; the
            message names file, line and field and says what was expected.
    """
    fields = record.fields
    if known is None:
        known = _detected(record, kind)
    elif not known.reads_from(fields):
        raise lacking(record, known)
    tools = tools_of(record)
    if tools and "tools" not in known.fields:
        raise bad_field(record, "tools", shown(fields["tools"]), f"no tools with {known.shape}")
    found = known.read(record)
    messages = found.messages
    system = parts.optional(record, "system") if "system" in known.fields else ""
    if system and messages[0]["role"] != "system":
        messages = ({"role": "system", "content": system}, *messages)
    if next((m["role"] for m in messages if m["role"] != "system"), "user") == "assistant":
        raise DataError(
            "the dialogue begins with an assistant's message; nothing asks for it",
            where=place(record.file, record.line),
            fix="begin with a user's message",
        )
    joined = [m["role"] for m in (*messages, *found.chosen)]
    if ("assistant", "assistant") in pairwise(joined):
        raise DataError(
            "the prompt ends with an assistant's message, and so does not ask for the answer",
            where=place(record.file, record.line),
            fix="end the prompt with a user's message",
        )
    return Example(
        messages,
        known.name,
        found.chosen,
        found.rejected,
        parts.weight(record),
        file=record.file,
        line=record.line,
        text=found.text,
        tools=tools,
        label=found.label,
        judged=found.judged,
        remarks=found.remarks,
        margin=parts.margin(record) if known.kind == "preference" else 0.0,
    )


def to_examples(record: Record, kind: Kind, known: Format | None = None) -> tuple[Example, ...]:
    """All examples of a record: one, but of a pair whose answers are wanted unpaired two.

    The better answer is then a good one, and the other a bad one; a pair of equal answers is left
    as it is, since it says nothing.

    Args:
        record: the record.
        kind: what the loss wants.
        known: the format to read it in; found by the record's fields when None.

    Raises:
        DataError: as `to_example`.
    """
    paired = known or (None if detect(record.fields, kind) else detect(record.fields, "preference"))
    if kind != "unpaired" or paired is None or paired.kind != "preference":
        return (to_example(record, kind, known),)
    pair = to_example(record, "preference", known)
    if pair.chosen == pair.rejected:
        return (pair,)
    good, bad = (
        replace(
            pair,
            messages=(*pair.messages, *answer),
            chosen=(),
            rejected=(),
            label=label,
            judged=len(answer),
        )
        for label, answer in ((True, pair.chosen), (False, pair.rejected))
    )
    return replace(good, remarks=(*good.remarks, UNPAIRED)), replace(bad, part=1, remarks=())


def _detected(record: Record, kind: Kind) -> Format:
    known = detect(record.fields, kind)
    if known is None or (kind == "completion" and _judged(record)):
        raise unknown(record, kind)
    return known


def _judged(record: Record) -> bool:
    likeliest = detect(record.fields)
    return likeliest is not None and likeliest.kind == "unpaired"
