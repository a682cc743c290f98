"""From what was seen to the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anima_core.data.audit.lengths import lengths_of
from anima_core.data.audit.noted import Noted
from anima_core.data.audit.observed import Observed
from anima_core.data.audit.others import with_others
from anima_core.data.audit.overlimit import Loss
from anima_core.data.audit.packing import Packing, packing_of
from anima_core.data.audit.repeats import (
    Groups,
    contradictions,
    one_prompt_other_answers,
    same,
    same_answers,
)
from anima_core.data.audit.report import (
    Answer,
    AuditReport,
    Count,
    Ends,
    Overlong,
    Pairs,
    Setting,
    Shared,
    Source,
)
from anima_core.data.mixture import mixture_of
from anima_core.data.place import place
from anima_core.data.selection import mixture_rows

if TYPE_CHECKING:
    from anima_core.data.audit.rows import Rows


def conclude(seen: Observed, setting: Setting) -> AuditReport:
    """Make the report, still without findings and examples.

    Args:
        seen: what was seen of all records.
        setting: what was looked at.
    """
    rows, tally = seen.rows(), seen.tally
    trained, others = trained_rows(rows, setting), None
    if setting.mismatched and len(trained):
        trained, others = with_others(trained, setting.limit)
    return AuditReport(
        setting=setting,
        records=tally.records,
        bad={
            "count": tally.faults.total,
            "kinds": dict(tally.faults.kinds),
            "listed": tally.faults.listed(fixes=True),
        },
        examples=len(rows),
        trained_on=len(trained),
        tokens=int(rows["tokens"].sum()),
        targets=int(rows["supervised"].sum()),
        formats=dict(+tally.formats),
        sources=_sources(rows, seen.files),
        idle={reason: _count(noted) for reason, noted in seen.idle.items()},
        short=tally.short,
        lengths=lengths_of(rows["longest"]) if len(rows) else None,
        target_lengths=lengths_of(rows["supervised"]) if len(rows) else None,
        overlong=_overlong(seen, rows),
        duplicates=_shared(same(rows["digest"]), rows, seen.files),
        prompts=_shared(one_prompt_other_answers(rows), rows, seen.files),
        answers=_answers(seen, rows),
        pairs=_pairs(seen, rows) if setting.kind == "preference" and len(rows) else None,
        labels=_labels(rows) if setting.kind == "unpaired" else None,
        ends=Ends(
            seen.endings.answers,
            seen.endings.ended,
            dict(seen.endings.by_token.most_common()),
            _count(seen.endings.open),
            _count(seen.endings.empty),
        ),
        round_trip=seen.trip,
        special=Count(tally.special.records, tally.special.places()),
        special_texts=dict(tally.special.texts.most_common()),
        replaced=_count(seen.broken),
        placeholders=dict(tally.placeholders.open),
        filled=dict(tally.placeholders.filled),
        unread_fields=tuple(tally.unread),
        replaced_fields=tuple(tally.columns.hidden),
        remarks=dict(tally.remarks),
        early=_count(tally.apart),
        packing=_packing(trained, setting),
        others=others,
    )


def trained_rows(rows: Rows, setting: Setting) -> Rows:
    """The rows as a run has them: within the limits, and those that it takes.

    Args:
        rows: all of them.
        setting: the limits, and how many are wanted of each source.
    """
    kept = rows[rows["kept"] > 0].copy()
    kept["tokens"], kept["longest"] = kept["kept"], kept["kept_longest"]
    if setting.overlong == "split":
        parts = np.maximum(-(-(kept["longest"] - 1) // (setting.limit - 1)), 1)
        kept = np.repeat(kept, parts)
        for name in ("tokens", "longest"):
            kept[name] = np.minimum(kept[name], setting.limit)
    most = setting.max_examples
    if setting.mix:
        mixture = mixture_of(setting.mix, setting.sources)
        kept = kept[mixture_rows(kept["source"], mixture, most, setting.seed)[0]]
    elif most is not None and most < len(kept):
        kept = kept[np.linspace(0, len(kept) - 1, most).astype(int)]
    return kept


def where(rows: Rows, files: list[str], row: int) -> str:
    """The place of a row's record."""
    return place(files[rows["file"][row]], int(rows["line"][row]))


def _sources(rows: Rows, files: list[str]) -> tuple[Source, ...]:
    def totals(weights: Any = None) -> list[int]:
        counted = np.bincount(rows["file"], weights, len(files))
        return [int(n) for n in counted]

    if not len(rows):
        return ()
    columns = (totals(), totals(rows["tokens"]), totals(rows["supervised"]))
    return tuple(Source(f, *c) for f, *c in zip(files, *columns, strict=True) if c[0])


def _overlong(seen: Observed, rows: Rows) -> Overlong:
    over = seen.over
    return Overlong(
        examples=over.over.count,
        places=tuple(over.over.places),
        plain=over.plain,
        drop=_lost(over.dropped),
        truncate=_lost(over.truncated),
        keeps_95=lengths_of(rows["longest"]).p95 if len(rows) else 0,
    )


def _lost(loss: Loss) -> dict[str, int]:
    return {"of": loss.of, "examples": loss.examples, "targets": loss.targets}


def _answers(seen: Observed, rows: Rows) -> tuple[Answer, ...]:
    return tuple(
        Answer(
            a.text,
            a.count,
            a.prompts,
            a.count / len(rows),
            tuple(where(rows, seen.files, row) for row in a.rows),
        )
        for a in same_answers(rows, seen.answers.texts)
    )


def _pairs(seen: Observed, rows: Rows) -> Pairs:
    chosen, rejected = rows["chosen"], rows["rejected"]
    return Pairs(
        chosen=float(chosen.mean()),
        rejected=float(rejected.mean()),
        chosen_longer=float((chosen > rejected).mean()),
        equal_length=float((chosen == rejected).mean()),
        prompts=len(np.unique(rows["asked"])),
        contradicted=_shared(contradictions(rows), rows, seen.files),
    )


def _labels(rows: Rows) -> dict[str, int]:
    return {name: int((rows["label"] == label).sum()) for name, label in (("good", 1), ("bad", 0))}


def _packing(rows: Rows, setting: Setting) -> Packing | None:
    if not len(rows):
        return None
    return packing_of(
        rows, setting.batch_size, setting.micro_tokens, setting.seed, setting.batching
    )


def _shared(found: Groups, rows: Rows, files: list[str]) -> Shared:
    places = (tuple(where(rows, files, row) for row in group) for group in found.members)
    return Shared(found.groups, found.extra, tuple(places))


def _count(noted: Noted) -> Count:
    return Count(noted.count, tuple(noted.places))
