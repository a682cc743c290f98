"""What was done to the data that its owner would want to know, as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from anima_core.config.values import pairs_of
from anima_core.data.chat import PLAIN_NOTE
from anima_core.data.formats import FIELDS
from anima_core.data.formats.preferences import PART_EARLY
from anima_core.data.place import together
from anima_core.problems import Problem
from anima_core.registry.names import did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from anima_core.config.core import CoreOptions
    from anima_core.runs.plan import DataSummary

SHOWN = 8
"""How many unread fields, and placeholders, a note names."""


def data_notes(summary: DataSummary, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Everything that was left out, cut or laid out in another way; empty when nothing was."""
    notes = []
    if summary.bad:
        notes.append(_bad(summary))
    notes += _overlong(summary)
    if summary.short:
        notes.append(f"{summary.short} examples shorter than --min-length were left out")
    if summary.not_drawn:
        notes.append(f"{summary.not_drawn} examples were left out by --max-examples, by the seed")
    if summary.mixture:
        notes += _mixture(summary)
    notes += _idle(summary)
    for remark, count in summary.remarks.items():
        where = f" ({listed(summary.early_places, count)})" if remark == PART_EARLY else ""
        notes.append(f"{count:,} records: {remark}{where}")
    notes += _shared_prompts(summary)
    if summary.filled:
        notes.append(f"placeholders were filled: {counted(summary.filled)}")
    if summary.replaced_fields:
        names = ", ".join(summary.replaced_fields)
        notes.append(f"--columns took other columns in the place of the records' own {names}")
    if summary.unread_fields:
        notes.append(unread_note(summary.unread_fields))
    if not tokenizer.chat_template:
        notes.append(PLAIN_NOTE)
    return notes


def _overlong(summary: DataSummary) -> list[str]:
    over = f"{summary.overlong} examples over {_limits(summary)}"
    told = (
        (summary.dropped, f"{summary.dropped} of {over} were dropped"),
        (summary.truncated, f"{summary.truncated} of {over} had their context cut from the left"),
        (
            summary.split,
            f"{summary.split} texts over {summary.limit} tokens were split into parts of as many",
        ),
    )
    return [text for count, text in told if count]


def _idle(summary: DataSummary) -> list[str]:
    """What there is nothing to learn from."""
    found = []
    if equal := summary.equal_pairs:
        where = listed(summary.equal_places, equal)
        found.append(f"{equal:,} pairs were left out, whose two answers are equal: {where}")
    if others := summary.unsupervised - equal:
        found.append(f"{others} examples were left out: nothing to learn from")
    return found


def _shared_prompts(summary: DataSummary) -> list[str]:
    pairs = summary.pairs
    if pairs is None or not pairs.shared:
        return []
    what = f"{pairs.shared:,} of {summary.examples:,} pairs share their prompt with another pair"
    return [f"{what} ({pairs.prompts:,} different prompts)"]


def data_warnings(summary: DataSummary) -> list[tuple[str, str]]:
    """What is most likely not meant, and what to do about it."""
    found = []
    if summary.placeholders:
        what = f"placeholders would be learnt as they stand: {counted(summary.placeholders)}"
        found.append((what, fill_advice(summary.placeholders)))
    if summary.unended and not summary.split:  # of a text that was split, the last part ends it
        what = f"{summary.unended:,} examples have an answer whose end is not taught"
        found.append((what, "`anima data` shows where; --template names another chat template."))
    if summary.pairs and summary.pairs.contradicted:
        count, groups = summary.pairs.contradicted, summary.pairs.contradictions
        where = listed([together(group, " / ") for group in groups], count)
        what = (
            f"{count:,} pair{'s contradict' if count > 1 else ' contradicts'} another pair (the "
            f"same two answers, the other one preferred): {where}"
        )
        found.append((what, "Keep one of each: together they teach nothing."))
    if summary.special_text:
        texts = ", ".join(f"{text} in {n:,}" for text, n in _most(summary.special_texts))
        what = (
            f"{summary.special_text:,} record{'s hold' if summary.special_text > 1 else ' holds'} "
            f"text of special tokens ({texts}), which is "
            f"read as the token itself: {', '.join(summary.special_places)}"
        )
        more = summary.special_text - len(summary.special_places)
        found.append(
            (
                what + (f" and {more:,} more" if more else ""),
                "Take it out where the token is not meant: it ends a turn, or begins another's.",
            )
        )
    return found


def idle_problems(summary: DataSummary, config: CoreOptions) -> list[Problem]:
    """Options of the data that were given and find nothing to do."""
    found = []
    there = [*summary.filled, *summary.placeholders]
    for name in pairs_of(config.fill):
        if name not in summary.filled:
            fix = f"There are {', '.join(there)}." if there else "There are none at all."
            found.append(Problem(f"--fill {name}", f"the data has no {{{{{name}}}}}", fix))
    for flag, given in (
        ("--max-prompt-length", config.max_prompt_length),
        ("--max-answer-length", config.max_answer_length),
    ):
        if given is not None and (why := _without_prompts(summary, config)):
            what = f"it does nothing: {why} neither prompt nor answer"
            found.append(Problem(flag, what, "Say --max-length.", level="warning"))
    if config.train_on != "assistant" and summary.kind != "completion":
        what = f"it does nothing: of {summary.kind} examples the answers are learnt"
        found.append(Problem("--train-on", what, "Leave it out.", level="warning"))
    return found


def _without_prompts(summary: DataSummary, config: CoreOptions) -> str:
    """Why no prompt is told from an answer in the data, if none is."""
    if summary.kind == "completion" and config.train_on == "all":
        return "with --train-on all there is"
    return "plain text has" if set(summary.formats) == {"text"} else ""


def _limits(summary: DataSummary) -> str:
    """The limit that examples are over, or how many of them are over each of several."""
    if not summary.over_prompt and not summary.over_answer:
        return f"{summary.limit} tokens"
    parts = [
        f"{summary.over_prompt} over that of prompts" if summary.over_prompt else "",
        f"{summary.over_answer} over that of answers" if summary.over_answer else "",
    ]
    return f"a limit ({', '.join(part for part in parts if part)})"


def _mixture(summary: DataSummary) -> list[str]:
    """What each source gives, and why it is no more in all."""
    given = ", ".join(
        f"{part.taken:,} of {part.examples:,} examples of {part.source} ({part.share:.1%})"
        for part in summary.mixture
    )
    notes = [f"the mixture takes {given}; {summary.unmixed:,} were left out by --mix"]
    short = [part.source for part in summary.mixture if part.limits]
    if short and (summary.unmixed or summary.lacking):
        lacking = f", {summary.lacking:,} fewer than --max-examples" if summary.lacking else ""
        notes.append(
            f"the mixture has {sum(part.taken for part in summary.mixture):,} examples{lacking}: "
            f"at these shares {' and '.join(short)} can give no more. For more, name that source "
            "twice in DATA (its examples then come up to twice), or give it a smaller share"
        )
    return notes


def listed(places: Sequence[str], count: int) -> str:
    """The first places of so many."""
    more = count - len(places)
    return ", ".join(places) + (f" and {more:,} more" if more > 0 else "")


def fill_advice(placeholders: Mapping[str, int]) -> str:
    """How the most frequent placeholders are filled."""
    names = sorted(placeholders, key=lambda name: -placeholders[name])[:3]
    return f"Unless that is meant, fill each: {' '.join(f'--fill {n}=VALUE' for n in names)}."


def counted(names: Mapping[str, int]) -> str:
    """Placeholders with the number of examples that have them."""
    shown = [f"{{{{{name}}}}} in {count:,} examples" for name, count in _most(names)]
    return ", ".join(shown)


def _bad(summary: DataSummary) -> str:
    """What was left out as unusable: of each kind the number and the places."""
    head = f"{summary.bad:,} records cannot be used and were left out"
    return "\n  ".join([head, *summary.bad_records])


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The largest counts, with what the others come to."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    rest = sum(count for _, count in ordered[SHOWN:])
    return [*ordered[:SHOWN], *([("others", rest)] if rest else [])]


def unread_note(fields: Sequence[str]) -> str:
    """Which fields say nothing to any format; a misspelt one would be lost without a word."""
    told = []
    for name in fields[:SHOWN]:
        hint = "" if name in FIELDS else did_you_mean(name, FIELDS)
        told.append(f"{name} ({hint})" if hint else name)
    more = f" and {len(fields) - SHOWN} more" if len(fields) > SHOWN else ""
    return f"fields of the records that are not read: {', '.join(told)}{more}"
