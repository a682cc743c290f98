"""What of a report is worth a sentence: most likely not meant, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from anima_core.data.audit.report import AuditFinding, AuditReport
from anima_core.data.formats.preferences import PART_EARLY
from anima_core.data.length_bias import preferred_length
from anima_core.data.notes import counted, fill_advice, unread_note
from anima_core.data.place import together

OFTEN, OFTEN_SHARE = 5, 0.01
"""An answer is told of as frequent from so many prompts, and such a share of the examples, on."""

ONE_SIDED = 0.9
"""Share of one label from which on feedback is told of as one-sided."""

Check = Callable[[AuditReport], Iterator[AuditFinding]]


def findings_of(report: AuditReport) -> tuple[AuditFinding, ...]:
    """Every finding, errors first and notes last."""
    found = list(chain.from_iterable(check(report) for check in _CHECKS))
    order = ("error", "warning", "note")
    return tuple(sorted(found, key=lambda f: order.index(f.level)))


def percent(share: float) -> str:
    """A share in words that do not round something to nothing, or to everything."""
    if share in (0, 1):
        return f"{share:.0%}"
    if share < 0.001:
        return "under 0.1%"
    if share > 0.999:
        return "over 99.9%"
    return f"{share:.1%}" if share < 0.1 or share > 0.99 else f"{share:.0%}"


def many(count: int, thing: str) -> str:
    """A count with its noun."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _bad(report: AuditReport) -> Iterator[AuditFinding]:
    bad = report.bad["count"]
    if not bad:
        return
    head = f"{bad:,} of {many(report.records, 'record')} cannot be used"
    what = "\n".join([head, *report.bad["listed"]])
    if bad == report.records:
        yield AuditFinding("bad-records", "error", what)
    elif report.setting.skip_bad_records:
        yield AuditFinding("bad-records", "warning", f"{what}\nthey are left out")
    else:
        fix = "Mend them, or leave them out, counted and listed, with --skip-bad-records."
        yield AuditFinding("bad-records", "error", what, fix)


def _none(report: AuditReport) -> Iterator[AuditFinding]:
    if not report.examples and report.bad["count"] < report.records:
        yield AuditFinding("no-example", "error", "there is nothing to learn from")
    elif report.examples and not report.trained_on:
        yield AuditFinding("no-example", "error", "no example is within the limit")


_LEARNS = {
    "preference": (
        "preferences (chosen and rejected)",
        "Add --dpo (or --orpo, --simpo, --cpo, --kto, --reward) to train on them.",
    ),
    "unpaired": (
        "unpaired feedback (each answer has a label)",
        "Add --kto to train on it.",
    ),
}


def _no_loss(report: AuditReport) -> Iterator[AuditFinding]:
    kind = report.setting.kind
    if kind in _LEARNS and not report.setting.loss:
        what, fix = _LEARNS[kind]
        said = f"no strategy is named that learns from {what}: this is the audit alone"
        yield AuditFinding("no-loss", "note", said, fix)


def _overlong(report: AuditReport) -> Iterator[AuditFinding]:
    over, setting = report.overlong, report.setting
    if not over.examples:
        return
    head = f"{many(over.examples, 'example')} over {limits_of(report)}"
    longest = report.lengths.longest if report.lengths else 0
    keeps = f"--max-length {longest} keeps all" if longest > setting.limit else ""
    if setting.overlong == "error":
        fix = "; or ".join(filter(None, [keeps, "choose one of the --overlong modes above."]))
        yield AuditFinding("overlong", "error", head, fix[0].upper() + fix[1:], over.places)
    elif setting.overlong == "split" and over.plain < over.examples:
        others = over.examples - over.plain
        what = f"{head}; {others:,} of them are no plain text, which alone can be split"
        fix = "; or ".join(filter(None, [keeps, "drop or truncate them."]))
        yield AuditFinding("overlong", "error", what, fix, over.places)
    else:
        lost = {"drop": over.drop, "truncate": over.truncate}.get(setting.overlong)
        if lost and lost["targets"]:
            share = percent(lost["targets"] / max(report.targets, 1))
            words = f"--overlong {setting.overlong} loses {many(lost['targets'], 'target')}"
            yield AuditFinding("overlong", "warning", f"{head}: {words} ({share})", "", over.places)


def limits_of(report: AuditReport) -> str:
    """The limits in words."""
    setting = report.setting
    more = [
        f"{limit:,} of {what}"
        for what, limit in (("a prompt", setting.prompt_limit), ("an answer", setting.answer_limit))
        if limit is not None
    ]
    whole = f"the limit of {setting.limit:,} tokens"
    return f"{whole}, or of {' or of '.join(more)}" if more else whole


def _idle(report: AuditReport) -> Iterator[AuditFinding]:
    for reason, count in report.idle.items():
        what = f"{many(count.count, 'example')} left out, with nothing to learn from: {reason}"
        yield AuditFinding("no-target", "warning", what, "", count.places)


def _ends(report: AuditReport) -> Iterator[AuditFinding]:
    ends = report.ends
    if ends.open.count:
        what = (
            f"{many(ends.answers - ends.ended, 'answer')} of {ends.answers:,} end without an "
            "end-of-turn token as a target: the model would not learn to stop there"
        )
        fix = "Take a chat template that closes every answer (--template)."
        yield AuditFinding("ends", "warning", what, fix, ends.open.places)
    if ends.empty.count:
        what = f"{many(ends.empty.count, 'answer')} with nothing in it but special tokens"
        yield AuditFinding("empty-answers", "warning", what, "", ends.empty.places)


def _trip(report: AuditReport) -> Iterator[AuditFinding]:
    trip = report.round_trip
    if trip.different:
        first = trip.first["different"]
        shown = [f"{d.place}: {d.text!r} became {d.decoded!r}" for d in first]
        checked = many(trip.checked, "token sequence")
        head = f"{trip.different:,} of {checked} do not say what the template wrote"
        fix = "The tokenizer lacks or changes characters of the data; take a model that has them."
        yield AuditFinding("round-trip", "warning", "\n".join([head, *shown]), fix)
    if trip.spaced:
        d = trip.first["spaced"][0]
        what = (
            f"{trip.spaced:,} of {many(trip.checked, 'token sequence')} differ from the template's "
            f"text in white space: {d.text!r} became {d.decoded!r}"
        )
        yield AuditFinding("round-trip-space", "note", what, "", (d.place,))


def _contents(report: AuditReport) -> Iterator[AuditFinding]:
    if report.special.count:
        each = ", ".join(f"{text} in {n:,}" for text, n in list(report.special_texts.items())[:5])
        what = f"{many(report.special.count, 'example')} with the text of a special token: {each}"
        fix = "It is read as the token itself: take it out of the data unless that is meant."
        yield AuditFinding("special-text", "warning", what, fix, report.special.places)
    if report.replaced.count:
        examples = many(report.replaced.count, "example")
        what = f"{examples} with U+FFFD, which stands for bytes that could not be read"
        fix = "The data was decoded wrongly before it came here; make it anew from its source."
        yield AuditFinding("replacement-character", "warning", what, fix, report.replaced.places)
    if report.placeholders:
        what = f"placeholders would be learnt as they stand: {counted(report.placeholders)}"
        yield AuditFinding("placeholders", "warning", what, fill_advice(report.placeholders))


def _repeats(report: AuditReport) -> Iterator[AuditFinding]:
    same = report.duplicates
    if same.extra:
        places = tuple(together(group, " = ") for group in same.places)
        share = percent(same.extra / report.examples)
        copies = "1 copy" if same.extra == 1 else f"{same.extra:,} copies"
        what = f"{copies} of examples that are there already, token for token ({share})"
        fix = "Each is learnt once more; take the copies out unless that is meant."
        yield AuditFinding("duplicates", "warning", what, fix, places)
    for answer in report.answers:
        if (
            answer.prompts >= OFTEN
            and answer.share >= OFTEN_SHARE
            and report.setting.kind == "completion"
        ):
            what = (
                f"{percent(answer.share)} of the examples have one answer to "
                f"{answer.prompts:,} different prompts: {shown(answer.text)}"
            )
            fix = "Leave some out, unless that is how the model should answer."
            yield AuditFinding("same-answer", "warning", what, fix, answer.places)
    others = report.prompts
    if others.groups and report.setting.kind in ("completion", "preference"):
        places = tuple(together(group, " / ") for group in others.places)
        pairs = report.setting.kind == "preference"
        how = "with more than one pair" if pairs else "answered in more than one way"
        what = f"{many(others.groups, 'prompt')} {how}"
        yield AuditFinding("other-answers", "note", what, "", places)


def _pairs(report: AuditReport) -> Iterator[AuditFinding]:
    pairs = report.pairs
    if pairs is None:
        return
    if pairs.contradicted.extra:
        places = tuple(together(group, " / ") for group in pairs.contradicted.places)
        count = pairs.contradicted.extra
        what = (
            f"{many(count, 'pair')} contradict{'s' if count == 1 else ''} another pair (the same "
            "two answers, the other one preferred)"
        )
        yield AuditFinding("contradictions", "warning", what, "Keep one of each.", places)
    shares = {
        "longer": pairs.chosen_longer,
        "shorter": 1 - pairs.chosen_longer - pairs.equal_length,
    }
    word = preferred_length(*(round(share * report.examples) for share in shares.values()))
    if word:
        what = f"in {percent(shares[word])} of the pairs the better answer is the {word} one"
        fix = (
            "The model may learn the length alone (Park et al. 2024, arXiv:2403.19159). If that is "
            "not meant, balance the pairs, or take a loss that answers' lengths matter less to: "
            "--dpo.length-normalised, --dpo.ld-alpha, --simpo."
        )
        yield AuditFinding("length-bias", "warning", what, fix)


def _labels(report: AuditReport) -> Iterator[AuditFinding]:
    labels = report.labels or {}
    total = sum(labels.values())
    for name, count in labels.items():
        if count > ONE_SIDED * total:
            what = f"{percent(count / total)} of the labels are {name}"
            yield AuditFinding("one-sided", "warning", what, "Give answers of both kinds.")


def _notes(report: AuditReport) -> Iterator[AuditFinding]:
    for remark, count in report.remarks.items():
        places = report.early.places if remark == PART_EARLY else ()
        yield AuditFinding("remark", "note", f"{many(count, 'record')}: {remark}", "", places)
    if report.filled:
        yield AuditFinding("filled", "note", f"placeholders were filled: {counted(report.filled)}")
    if report.replaced_fields:
        names = ", ".join(report.replaced_fields)
        what = f"--columns took other columns in the place of the records' own {names}"
        yield AuditFinding("replaced-fields", "note", what)
    if report.unread_fields:
        yield AuditFinding("unread-fields", "note", unread_note(report.unread_fields))
    if report.short:
        what = f"{many(report.short, 'example')} shorter than --min-length left out"
        yield AuditFinding("short", "note", what)


def shown(text: str, most: int = 60) -> str:
    """The beginning of a text on one line, in quotes."""
    line = " ".join(text.split())
    return repr(line if len(line) <= most else line[: most - 1] + "…")


_CHECKS: tuple[Check, ...] = (
    _bad,
    _none,
    _overlong,
    _no_loss,
    _idle,
    _ends,
    _trip,
    _contents,
    _repeats,
    _pairs,
    _labels,
    _notes,
)
