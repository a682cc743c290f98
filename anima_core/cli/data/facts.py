"""An audit's figures as lines of words, the same on the screen and on the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from anima_core.data.audit.findings import many, percent, shown
from anima_core.data.audit.lengths import Lengths
from anima_core.data.audit.report import AuditReport

FILES = 10
"""Files that are listed."""


class Fact(NamedTuple):
    """A line: what it is about, and what is so."""

    what: str
    said: str


def facts_of(report: AuditReport) -> Iterator[Fact]:
    """The lines above the histogram: what was read, and how much it is."""
    setting = report.setting
    yield Fact("data", ", ".join(setting.sources))
    formats = [f"{count:,} {name}" for name, count in report.formats.items()]
    bad = [f"{report.bad['count']:,} that cannot be used"] if report.bad["count"] else []
    yield Fact("records", ", ".join([*formats, *bad]) or "none")
    loss = f"for {setting.loss}" if setting.loss else "for no strategy that is named"
    yield Fact("read as", f"{setting.kind}, {loss} (told by {setting.kind_from})")
    yield Fact("template", setting.template)
    yield from _examples(report)
    for source in report.sources[:FILES] if len(report.sources) > 1 else ():
        yield Fact("", f"{source.examples:>9,}  {source.file}")
    if len(report.sources) > FILES:
        yield Fact("", f"{'':>9}  and {len(report.sources) - FILES:,} more files")
    if report.examples:
        share = percent(report.targets / report.tokens)
        yield Fact(
            "tokens", f"{report.tokens:,}, of which {report.targets:,} are targets ({share})"
        )
    if report.others:
        others, loss = report.others, f"--{setting.loss}"
        beside = f"{others.examples:,} of {many(report.trained_on, 'example')}"
        said = f"{others.tokens:,} more tokens: {loss} computes another's answer beside {beside}"
        yield Fact("others' answers", said)
    if report.target_lengths:
        yield Fact("targets each", ranks(report.target_lengths))
    if report.lengths:
        yield Fact("lengths", f"{ranks(report.lengths)} of {setting.limit:,}")


def later_facts_of(report: AuditReport) -> Iterator[Fact]:
    """The lines below the histogram: how it would be learnt."""
    if not report.examples:
        return
    yield from _overlong(report)
    ends = report.ends
    tokens = ", ".join(ends.by_token)
    closed = f"{ends.ended:,} of {many(ends.answers, 'answer')}"
    yield Fact(
        "answers' ends", f"{closed} end with a target {tokens}" if tokens else "none is taught"
    )
    trip = report.round_trip
    spaced = f"; {trip.spaced:,} but for white space" if trip.spaced else ""
    checked = f"{trip.exact:,} of {many(trip.checked, 'token sequence')}"
    yield Fact("round trip", f"{checked} decode to the template's text{spaced}")
    copies = many(report.duplicates.extra, "copy").replace("copys", "copies")
    others = f"{many(report.prompts.groups, 'prompt')} with more than one answer"
    yield Fact("repeats", f"{copies}; {others}" if report.pairs is None else copies)
    yield from _kind(report)
    yield from _answers(report)
    yield from _packing(report)


def ranks(lengths: Lengths) -> str:
    """A distribution on one line."""
    named = [("p50", lengths.p50), ("p90", lengths.p90), ("p95", lengths.p95), ("p99", lengths.p99)]
    return " · ".join(f"{name} {n:,}" for name, n in [*named, ("max", lengths.longest)])


def _examples(report: AuditReport) -> Iterator[Fact]:
    parts = [f"{report.examples:,}"]
    idle = sum(count.count for count in report.idle.values())
    if idle:
        parts.append(f"{idle:,} more have nothing to learn from")
    if report.short:
        parts.append(f"{report.short:,} more are shorter than --min-length")
    if report.overlong.examples and report.setting.overlong == "error":
        parts.append(f"{report.trained_on:,} are within the limit")
    elif report.trained_on != report.examples:
        parts.append(f"a run would train on {report.trained_on:,}")
    yield Fact("examples", "; ".join(parts))


def _overlong(report: AuditReport) -> Iterator[Fact]:
    over, limit = report.overlong, report.setting.limit
    if not over.examples:
        yield Fact("over the limit", "none")
        return
    share = percent(over.examples / report.examples)
    yield Fact("over the limit", f"{many(over.examples, 'example')} ({share})")
    total = max(report.targets, 1)
    for mode, lost in (("drop", over.drop), ("truncate", over.truncate)):
        scale = over.examples / max(lost["of"], 1)
        examples, targets = (round(lost[name] * scale) for name in ("examples", "targets"))
        about = "" if lost["of"] == over.examples else "about "
        said = (
            f"{many(examples, 'example')}, {many(targets, 'target')} ({percent(targets / total)})"
        )
        yield Fact("", f"--overlong {mode} loses {about}{said}")
    if over.plain == over.examples:
        yield Fact("", "--overlong split loses nothing: they are plain text")
    if limit < over.keeps_95:
        yield Fact("", f"--max-length {over.keeps_95} keeps 95% of all examples")


def _kind(report: AuditReport) -> Iterator[Fact]:
    pairs, labels = report.pairs, report.labels
    if pairs:
        more = f"{pairs.chosen / max(pairs.rejected, 1):.2f} ×"
        means = f"{pairs.chosen:,.0f} chosen, {pairs.rejected:,.0f} rejected ({more})"
        longer = f"the chosen one is longer in {percent(pairs.chosen_longer)}"
        yield Fact("pairs", f"mean targets {means}; {longer}")
        shared = report.examples - pairs.prompts
        yield Fact("prompts", f"{pairs.prompts:,}; {shared:,} pairs share another's")
    if labels is not None:
        each = ", ".join(
            f"{n:,} {name} ({percent(n / report.examples)})" for name, n in labels.items()
        )
        yield Fact("labels", each)


def _answers(report: AuditReport) -> Iterator[Fact]:
    for number, answer in enumerate(report.answers):
        what = "" if number else "same answers"
        yield Fact(what, f"{answer.prompts:,} prompts: {shown(answer.text)}")


def _packing(report: AuditReport) -> Iterator[Fact]:
    packing, setting = report.packing, report.setting
    if packing is None:
        return
    sample = "" if packing.looked_at == packing.steps else f" ({packing.looked_at:,} looked at)"
    yield Fact("a pass", f"{many(packing.steps, 'step')} of {setting.batch_size} examples{sample}")
    batches = f"{packing.micro_batches:.1f} a step of {setting.micro_tokens:,} tokens"
    yield Fact("micro-batches", f"{batches}, {percent(packing.filled)} full")
    saved = f"would compute {packing.padding:.2f} × the tokens"
    yield Fact("padding", f"{saved} (each step's to its longest); none is done here")
