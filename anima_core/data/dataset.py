"""A data set: records in, encoded examples and what they hold out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from anima_core.batch import Role
from anima_core.contracts import Record
from anima_core.data import token_cache
from anima_core.data.audit.brief import brief
from anima_core.data.encoder import Encoder
from anima_core.data.formats import Kind
from anima_core.data.handling import Handling
from anima_core.data.intake import Intake, Source, Taken
from anima_core.data.mismatched import mismatched
from anima_core.data.mixture import Mixed, Mixture, mixture_of
from anima_core.data.pairs import pair_summary
from anima_core.data.selection import drawn, drawn_mixture, hold_out
from anima_core.data.store import Examples
from anima_core.data.tally import Tally
from anima_core.errors import DataError
from anima_core.runs.plan import DataSummary, MixtureShare, SourceSummary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from anima_core.config.core import Overlong

_DEFAULT = Handling()


def _ignore(_: object) -> None:
    return None


def load_dataset(
    records: Iterable[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    kind: Kind,
    limit: int,
    overlong: Overlong,
    sources: Sequence[str],
    handling: Handling = _DEFAULT,
    progress: Callable[[int], None] = _ignore,
) -> tuple[Examples, DataSummary]:
    """Encode records, wherever they come from.

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
        DataError, SetupError, UsageError: as `load_sources`.
    """
    examples, summary = load_sources(
        [Source(", ".join(sources), lambda: records)],
        tokenizer,
        kind=kind,
        limit=limit,
        overlong=overlong,
        handling=handling,
        cache=False,
        note=_ignore,
        progress=progress,
    )
    return examples, replace(summary, sources=tuple(sources))


def load_sources(
    sources: Sequence[Source],
    tokenizer: PreTrainedTokenizerBase,
    *,
    kind: Kind,
    limit: int,
    overlong: Overlong,
    handling: Handling,
    cache: bool,
    note: Callable[[str], None],
    progress: Callable[[int], None],
) -> tuple[Examples, DataSummary]:
    """Encode sources, or take what an earlier run made of them.

    Args:
        sources: where records come from.
        tokenizer: the model's tokenizer.
        kind: what the loss wants.
        limit: tokens of the longest sequence allowed.
        overlong: what to do with longer ones.
        handling: what else was asked for.
        cache: whether to keep what is made, and to look for what was kept.
        note: told what a user would want to know of how it was done.
        progress: called with how many more records are done.

    Returns:
        The examples to train on, in the records' order, and their summary.

    Raises:
        DataError: records are malformed or of another kind (all of them are read first, and the
            error tells of all), a sequence is too long, or there is nothing to learn.
        SetupError: the tokenizer cannot be used.
        UsageError: there is no such format or field, the loss learns from another kind, or the
            shares of a mixture are not those of the sources.
    """
    names = [source.name for source in sources]
    mixture = mixture_of(handling.mix, names) if handling.mix else None
    encoder = Encoder(tokenizer, kind, handling, limit, overlong)
    facts = token_cache.facts(tokenizer, kind, handling, limit, overlong) if cache else None
    skips = handling.skip_bad_records
    intake = Intake(encoder, facts, skips=skips, note=note, progress=progress)
    tally = Tally()
    taken: list[Taken] = []
    for number, source in enumerate(sources):
        taken.append(intake.take(source, number))
        tally.merge(taken[-1].tally)
        if failure := taken[-1].failure:
            if skips or not tally.faults.total:
                raise failure
            tally.faults.add(failure)
            break
    encoder.columns.refuse_missing(tally.columns, ", ".join(names))
    if tally.faults.total and not skips:
        raise tally.faults.refusal(names, tally.records)
    if refusal := tally.lengths.refusal(encoder.limits, overlong):
        raise refusal
    kept = Examples([part.store for part in taken if part.store])
    if not kept:
        raise _nothing(names, tally)
    _note_cached(sources, taken, note)
    most, seed = handling.max_examples, handling.seed
    if mixture is None:
        examples = drawn(kept, most, seed)
        left_out: dict[str, Any] = {"not_drawn": len(kept) - len(examples)}
    else:
        examples, mixed = drawn_mixture(kept, mixture, most, seed)
        left_out = {
            "unmixed": len(kept) - len(examples),
            "lacking": max(0, most - len(examples)) if most else 0,
            "mixture": _mixture(mixture, mixed, kept),
        }
    return examples, _summary(kind, limit, names, tally, taken, kept, examples, left_out)


def _mixture(mixture: Mixture, mixed: Mixed, kept: Examples) -> tuple[MixtureShare, ...]:
    there = np.bincount(kept.columns.source, minlength=len(mixture.pools))
    whole = sum(mixture.shares)
    return tuple(
        MixtureShare(
            source=name,
            share=float(share / whole),
            examples=sum(int(there[number]) for number in own),
            taken=sum(len(mixed.rows[number]) for number in own),
            limits=index in mixed.limiting,
        )
        for index, (name, share) in enumerate(zip(mixture.names, mixture.shares, strict=True))
        for own in ([n for n, pool in enumerate(mixture.pools) if pool == index],)
    )


def _note_cached(
    sources: Sequence[Source], taken: Sequence[Taken], note: Callable[[str], None]
) -> None:
    cached = [s.name for s, part in zip(sources, taken, strict=True) if part.cached]
    if cached:
        some = f" of {', '.join(cached)}" if len(cached) < len(sources) else ""
        note(f"tokens{some} read from the cache")


def _summary(
    kind: Kind,
    limit: int,
    names: Sequence[str],
    tally: Tally,
    taken: Sequence[Taken],
    kept: Examples,
    examples: Examples,
    left_out: Mapping[str, Any],
) -> DataSummary:
    return DataSummary(
        sources=tuple(names),
        kind=kind,
        **counts(examples, kind),
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
        over_prompt=tally.lengths.prompt.count,
        over_answer=tally.lengths.answer.count,
        bad=tally.faults.total,
        bad_records=tuple(tally.faults.listed()),
        bad_kinds=dict(tally.faults.kinds),
        weighted=tally.weighted,
        margined=tally.margined,
        equal_pairs=tally.equal.count,
        equal_places=tuple(tally.equal.places),
        early_pairs=tally.apart.count,
        early_places=tuple(tally.apart.places),
        special_text=tally.special.records,
        special_texts=dict(tally.special.texts),
        special_places=tally.special.places(),
        per_source=_per_source(names, taken, kept, examples),
        **left_out,
    )


def _per_source(
    names: Sequence[str], taken: Sequence[Taken], kept: Examples, examples: Examples
) -> tuple[SourceSummary, ...]:
    there = np.bincount(kept.columns.source, minlength=len(names))
    tokens = np.bincount(kept.columns.source, kept.columns.tokens, len(names))
    wanted = np.bincount(examples.columns.source, minlength=len(names))
    spent = np.bincount(examples.columns.source, examples.columns.tokens, len(names))
    return tuple(
        SourceSummary(
            source=name,
            records=part.tally.records,
            examples=int(there[number]),
            tokens=int(tokens[number]),
            short=part.tally.short,
            overlong=part.tally.lengths.overlong,
            dropped=part.tally.lengths.dropped,
            bad=part.tally.faults.total,
            taken=int(wanted[number]),
            taken_tokens=int(spent[number]),
        )
        for number, (name, part) in enumerate(zip(names, taken, strict=True))
    )


def parted(
    examples: Examples, summary: DataSummary, fraction: float, seed: int
) -> tuple[tuple[Examples, DataSummary], tuple[Examples, DataSummary]]:
    """Examples to train on and examples held out of them, each with its summary.

    Raises:
        DataError: they all have one prompt (see `hold_out`).
    """
    train, held = hold_out(examples, fraction, seed)
    kind = summary.kind
    rest = DataSummary(
        sources=summary.sources, kind=kind, limit=summary.limit, **counts(held, kind)
    )
    return (train, replace(summary, **counts(train, kind))), (held, rest)


def with_mismatched(examples: Examples, summary: DataSummary) -> tuple[Examples, DataSummary]:
    """Unpaired feedback, with another example's answer behind each prompt, and its summary."""
    both = mismatched(examples, summary.limit)
    found = counts(both, summary.kind) | {"copies": summary.copies}
    return both, replace(summary, **found, unmatched=both.without)


def counts(examples: Examples, kind: str) -> dict[str, Any]:
    """What a summary says of the examples themselves."""
    columns = examples.columns
    good, bad = (columns.verdict == role for role in (Role.CHOSEN, Role.REJECTED))
    unpaired = kind == "unpaired"
    return {
        "examples": len(examples),
        "tokens": int(columns.tokens.sum(dtype=np.int64)),
        "supervised_tokens": int(columns.supervised.sum(dtype=np.int64)),
        "longest": int(columns.longest.max()),
        "sha256": examples.fingerprint(),
        **brief(columns),
        "good_answers": int(good.sum()) if unpaired else 0,
        "bad_answers": int(bad.sum()) if unpaired else 0,
        "good_weight": float(columns.weight[good].sum()) if unpaired else 0.0,
        "bad_weight": float(columns.weight[bad].sum()) if unpaired else 0.0,
        "pairs": pair_summary(examples) if kind == "preference" else None,
    }


def _nothing(sources: Sequence[str], tally: Tally) -> DataError:
    if 0 < tally.faults.total == tally.records:
        return tally.faults.refusal(sources, tally.records)
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
