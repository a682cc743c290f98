"""Audit a data set: every record is looked at once, none is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from anima_core.contracts import Record
from anima_core.data.audit.conclude import conclude
from anima_core.data.audit.drawn import Drawn
from anima_core.data.audit.findings import findings_of
from anima_core.data.audit.look import Asked, Looker
from anima_core.data.audit.observed import Observed
from anima_core.data.audit.report import AuditFinding, AuditReport, Setting
from anima_core.data.audit.view import Viewer
from anima_core.data.encoder import Encoder
from anima_core.data.handling import Handling
from anima_core.data.parallel import work_on_all
from anima_core.data.place import place
from anima_core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from anima_core.data.formats import Kind


def _ignore(_: object) -> None:
    return None


def audit(
    sources: Sequence[Iterable[Record]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    kind: Kind,
    handling: Handling,
    asked: Asked,
    setting: Setting,
    note: Callable[[str], None] = _ignore,
    progress: Callable[[int], None] = _ignore,
) -> AuditReport:
    """Audit records.

    Args:
        sources: the records of each source, read as they are needed.
        tokenizer: the model's tokenizer.
        kind: what the loss wants.
        handling: what else is to be done with the records.
        asked: what to look for.
        setting: the options, as the report tells of them.
        note: told of what was done otherwise than a user would think.
        progress: called with how many more records are done.

    Raises:
        DataError: a source cannot be read at all, or no record has a column that was named; bad
            records are part of the report.
        SetupError: the tokenizer cannot be used.
        UsageError: there is no such format or field, or the loss learns from another kind.
    """
    encoder = Encoder(tokenizer, kind, handling, setting.limit, asked.overlong)
    looker = Looker(tokenizer, encoder, asked)
    seen = Observed(Drawn(asked.show, asked.seed))
    try:
        for number, records in enumerate(sources):
            work = partial(looker.look, source=number)
            for part in work_on_all(records, work, note):
                seen.merge(part)
                progress(part.tally.records)
    except DataError as error:  # a source that cannot be read on; a bad record is no such thing
        if not seen.tally.records:
            raise
        seen.tally.faults.add(error)
    encoder.columns.refuse_missing(seen.tally.columns, ", ".join(setting.sources))
    report = conclude(seen, setting)
    found = (*findings_of(report), *_not_found(seen, asked))
    viewer = Viewer(tokenizer, looker.special)
    examples = {id(example): example for example in (*seen.asked, *seen.drawn.examples())}
    shown = (viewer.view(e, place(e.file, e.line)) for e in examples.values())
    return replace(report, findings=found, shown=tuple(shown))


def _not_found(seen: Observed, asked: Asked) -> list[AuditFinding]:
    """Records that were asked for and gave no example."""
    there = {word for e in seen.asked for word in (str(e.line), f"{e.file}:{e.line}")}
    return [
        AuditFinding(
            "no-such-example",
            "warning",
            f"--record {wanted}: no example comes of it",
            "Give FILE:LINE as this report writes it; a bad record, or one without a target, "
            "is told of above.",
        )
        for wanted in asked.records
        if wanted not in there
    ]
