"""An audit's figures, as they are shown and written out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from anima_core.data.audit.lengths import Lengths
from anima_core.data.audit.others import Others
from anima_core.data.audit.packing import Packing
from anima_core.data.audit.roundtrip import RoundTrip
from anima_core.data.audit.view import ExampleView

if TYPE_CHECKING:
    from anima_core.config.core import Batching

SCHEMA = 1
"""Goes up when a key of the JSON changes its meaning or goes away."""


@dataclass(frozen=True)
class Setting:
    """What data was looked at, and for what.

    Attributes:
        model: the model, as given.
        template: where the chat template comes from.
        kind: ``completion``, ``preference`` or ``unpaired``.
        kind_from: what decided the kind: ``the records``, ``--format`` or a flag.
        loss: the strategy that learns from it; empty where there is none.
        sources: the data, as given.
        limit: tokens of the longest sequence allowed.
        prompt_limit, answer_limit: of the longest prompt and answer; None where there is none.
        mismatched: whether the loss wants another example's answer beside each one's own.
        overlong, train_on, batch_size, micro_tokens, batching, max_examples, mix,
            seed, skip_bad_records: the core's options.
    """

    model: str
    template: str
    kind: str
    kind_from: str
    loss: str
    sources: tuple[str, ...]
    limit: int
    prompt_limit: int | None
    answer_limit: int | None
    overlong: str
    train_on: str
    batch_size: int
    micro_tokens: int
    batching: Batching
    max_examples: int | None
    mix: tuple[str, ...]
    seed: int
    skip_bad_records: bool
    mismatched: bool = False


@dataclass(frozen=True)
class Source:
    """What a file holds: its examples, their tokens and targets."""

    file: str
    examples: int
    tokens: int
    targets: int


@dataclass(frozen=True)
class Count:
    """How many, with the first places."""

    count: int = 0
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shared:
    """What several examples share.

    Attributes:
        groups: how many different things are shared.
        extra: how many examples there are beyond the first of each.
        places: for the first groups, the places of some of their examples.
    """

    groups: int = 0
    extra: int = 0
    places: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Answer:
    """An answer that several prompts have: how it begins, how often it is given, and where."""

    text: str
    count: int
    prompts: int
    share: float
    places: tuple[str, ...]


@dataclass(frozen=True)
class Overlong:
    """The examples over a limit, and the targets that each mode would lose.

    Attributes:
        examples: how many there are.
        places: the first of them.
        plain: how many are plain text, which ``split`` keeps whole.
        drop, truncate: ``examples`` and ``targets`` lost, found by looking at so many (``of``) of
            those over a limit; ``split`` loses nothing.
        keeps_95: the limit that would keep 95% of all examples.
    """

    examples: int
    places: tuple[str, ...]
    plain: int
    drop: Mapping[str, int]
    truncate: Mapping[str, int]
    keeps_95: int


@dataclass(frozen=True)
class Ends:
    """How answers end.

    Attributes:
        answers: how many there are.
        ended: how many end with a special token that is a target.
        by_token: how many with each.
        open: examples with an answer that does not.
        empty: examples whose answer is special tokens alone.
    """

    answers: int
    ended: int
    by_token: Mapping[str, int]
    open: Count
    empty: Count


@dataclass(frozen=True)
class Pairs:
    """Preference pairs.

    Attributes:
        chosen, rejected: mean targets of the better and of the worse answers.
        chosen_longer, equal_length: shares of the pairs in which the better one is longer, or as
            long.
        prompts: different prompts.
        contradicted: pairs that another pair has the other way round.
    """

    chosen: float
    rejected: float
    chosen_longer: float
    equal_length: float
    prompts: int
    contradicted: Shared


@dataclass(frozen=True)
class AuditFinding:
    """Something that is most likely not meant, or worth knowing.

    Attributes:
        code: what it is about, for machines.
        level: ``error`` (no run would start), ``warning`` or ``note``.
        what: what was found.
        fix: what to do about it.
        places: where, first.
    """

    code: str
    level: str
    what: str
    fix: str = ""
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class AuditReport:
    """Everything that an audit found; `to_dict` is what ``--json`` prints.

    Attributes:
        setting: what was looked at.
        records: how many records came.
        bad: records that cannot be used, their kinds, and a list of where they are.
        examples, tokens, targets: what can be learnt from.
        trained_on: how many examples a run would be left with.
        formats: examples by format.
        sources: by file.
        idle: examples without anything to learn, by reason; they are not in any other figure.
        short: examples that ``--min-length`` leaves out; nor are they.
        lengths: of sequences; ``None`` where there is no example.
        target_lengths: targets of an example.
        overlong: the examples over the limit.
        duplicates: examples that are there more than once, token for token.
        prompts: examples that ask what others ask, and are answered otherwise.
        answers: the most frequent answers.
        pairs: of preferences only.
        labels: of unpaired feedback only: how many are ``good`` and ``bad``.
        ends, round_trip: see their classes.
        special: examples that write special tokens as text.
        special_texts: how many write each.
        replaced: examples with U+FFFD, which stands for bytes that could not be read.
        placeholders, filled, unread_fields, replaced_fields, remarks: as in the plan.
        early: pairs of dialogues that part before their last questions.
        packing: how full micro-batches would be, `others` counted in.
        others: answers to other prompts that the loss wants; None where it wants none.
        findings: what is worth a sentence.
        shown: examples token by token.
    """

    setting: Setting
    records: int
    bad: Mapping[str, Any]
    examples: int
    trained_on: int
    tokens: int
    targets: int
    formats: Mapping[str, int]
    sources: tuple[Source, ...]
    idle: Mapping[str, Count]
    short: int
    lengths: Lengths | None
    target_lengths: Lengths | None
    overlong: Overlong
    duplicates: Shared
    prompts: Shared
    answers: tuple[Answer, ...]
    pairs: Pairs | None
    labels: Mapping[str, int] | None
    ends: Ends
    round_trip: RoundTrip
    special: Count
    special_texts: Mapping[str, int]
    replaced: Count
    placeholders: Mapping[str, int]
    filled: Mapping[str, int]
    unread_fields: tuple[str, ...]
    replaced_fields: tuple[str, ...]
    remarks: Mapping[str, int]
    early: Count
    packing: Packing | None
    others: Others | None = None
    findings: tuple[AuditFinding, ...] = ()
    shown: tuple[ExampleView, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {"schema": SCHEMA, **asdict(self)}
