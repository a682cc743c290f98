"""The errors for records that fit no format, and what would read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anima_core.contracts import Record
from anima_core.data.formats.dialogues import MARKS, marks_of
from anima_core.data.formats.example import Kind
from anima_core.data.formats.known import FIELDS, FORMATS, Format, detect
from anima_core.data.formats.parts import given, no_verdict, verdict
from anima_core.data.place import place
from anima_core.errors import DataError
from anima_core.registry.names import nearest

_QUESTIONS = ("question", "query", "problem", "ask", "user", "human", "source_text")
_ANSWERS = ("answer", "reply", "solution", "assistant", "bot", "target_text")
_TEXTS = ("content", "body", "document", "article", "passage", "story")

_BY_HAND = "say with --columns FIELD=COLUMN which column holds what"

_WANTS = {
    "preference": "add --dpo (or --orpo, --simpo, --cpo, --kto, --reward) to learn from "
    "preferences",
    "unpaired": "use --kto, which learns from unpaired feedback; or keep the records whose label "
    "is true and take the field away",
}


def unknown(record: Record, kind: Kind) -> DataError:
    """The error for a record that fits no format of the kind that the loss wants."""
    fields = record.fields
    where = place(record.file, record.line)
    other = detect(fields)
    if other and other.kind == "unpaired":
        return DataError(
            "field 'label': a verdict on an answer (unpaired feedback), but the loss learns from "
            f"{kind} examples and would take good and bad answers alike",
            where=where,
            fix=_WANTS["unpaired"],
        )
    if kind == "completion" and other and other.kind == "preference":
        return DataError(
            "a preference record (chosen and rejected), but the loss learns from completions",
            where=where,
            fix=_WANTS["preference"],
        )
    found = fields_of(fields)
    if kind == "preference" and other and "chosen" not in fields and "rejected" not in fields:
        return DataError(
            f"a completion record, but the loss learns from preferences: {found}",
            where=where,
            fix="use --sft in the place of the strategy that learns from pairs, or give records "
            "with chosen and rejected",
        )
    if kind == "unpaired" and other and other.kind == "completion":
        if given(fields, "label"):
            return _judged_elsewhere(record)
        return DataError(
            f"a completion record, but the loss learns from answers with a verdict: {found}",
            where=where,
            fix="add the field 'label': true for a good answer and false for a bad one (--columns "
            "label=COLUMN where another column holds it); or use --sft (leave --kto out)",
        )
    near = {f.shape: name for f in FORMATS if f.kind == kind and (name := _lacks(f, fields))}
    shapes = near or dict.fromkeys(f.shape for f in FORMATS if f.kind == kind)
    formats = "; ".join(sorted(shapes, key=lambda shape: not shape.startswith("prompt")))
    missing = list(dict.fromkeys(near.values()))
    what = f"{' or '.join(map(repr, missing))} is missing: {found}" if near else found
    fix = _misspelt(fields, missing) or _mapping(fields, kind) or ("" if near else _BY_HAND)
    return DataError(f"{what}, expected one of: {formats}", where=where, fix=fix)


def _judged_elsewhere(record: Record) -> DataError:
    """The error for a record with a label and fields that are not read beside one."""
    if verdict(record.fields, numbers=True) is None:
        return no_verdict(record)
    return DataError(
        f"{fields_of(record.fields)}, expected prompt + completion, or messages, beside 'label'",
        where=place(record.file, record.line),
        fix=_BY_HAND,
    )


def lacking(record: Record, known: Format) -> DataError:
    """The error for a record without the fields of the format that was named."""
    instead = f", or {' + '.join(known.instead)}" if known.instead else ""
    return DataError(
        f"{fields_of(record.fields)}, expected those of {known.name}: {known.shape}{instead}",
        where=place(record.file, record.line),
        fix=f"name another --format, or {_BY_HAND}",
    )


def fields_of(fields: Mapping[str, Any]) -> str:
    """The fields that a record has, as a message tells of them."""
    names = ", ".join(f"{k} (nothing)" if v is None else str(k) for k, v in fields.items())
    return f"found the fields {names}" if names else "found no fields"


def _lacks(known: Format, fields: Mapping[str, Any]) -> str:
    """The one field that a record lacks of those that a format needs; empty if it lacks more."""
    missing = [name for name in known.needs if not given(fields, name)]
    return missing[0] if len(missing) == 1 < len(known.needs) else ""


def _misspelt(fields: Mapping[str, Any], missing: Sequence[str]) -> str:
    """The ``--columns`` for a field whose name is nearly that of one that is missing."""
    others = [str(name) for name in fields if name not in FIELDS]
    for name in missing:
        for column in nearest(name, others, limit=1):
            return f"if {column!r} holds it: --columns {name}={column}"
    return ""


def _mapping(fields: Mapping[str, Any], kind: Kind) -> str:
    """The ``--columns`` that would read a record; empty where none comes to mind."""
    options = _columns({k: v for k, v in fields.items() if k not in FIELDS}) if fields else ()
    if not options or kind != "completion":
        return ""
    fix = "say which columns hold what: " + " ".join(f"--columns {o}" for o in options)
    if options[0].startswith("text=") and marks_of(fields[options[0][5:]]):
        fix += " reads its dialogue turn by turn; with --format text, too, as plain text"
    return fix


def _columns(fields: Mapping[str, Any]) -> tuple[str, ...]:
    for name, value in fields.items():
        if isinstance(value, list) and value and _is_message(value[0]):
            return (f"messages={name}",)
        if marks_of(value) or _holds_turns(value):
            return (f"text={name}",)
    question, answer = _first(fields, _QUESTIONS), _first(fields, _ANSWERS)
    if question and answer:
        return (f"prompt={question}", f"completion={answer}")
    text = _first(fields, _TEXTS)
    return (f"text={text}",) if text else ()


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and bool({"role", "from"} & set(value))


def _holds_turns(value: Any) -> bool:
    return isinstance(value, str) and any(len(m.pattern.findall(value)) > 1 for m in MARKS)


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> str:
    by_name = {str(name).lower(): str(name) for name in fields}
    return next((by_name[name] for name in names if name in by_name), "")
