"""The plan: what a run would do, known without reading a weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from anima_core.problems import Problem


@dataclass(frozen=True)
class SlotLine:
    """Who answers a hook.

    Attributes:
        hook: the slot or stack.
        strategy, distribution, version: who answers.
        note: what it says of itself for this run, e.g. which kernel it fell back to.
        default: whether it is the core's own default, named by nobody.
    """

    hook: str
    strategy: str
    distribution: str
    version: str
    note: str = ""
    default: bool = False


@dataclass(frozen=True)
class SourceSummary:
    """What one source of a data set holds.

    Attributes:
        source: as given.
        records: how many were read.
        examples, tokens: what came of them, within the limits.
        short, overlong, dropped, bad: as of the whole data set.
        taken, taken_tokens: how many of those are trained on, and their tokens.
    """

    source: str
    records: int
    examples: int
    tokens: int
    short: int = 0
    overlong: int = 0
    dropped: int = 0
    bad: int = 0
    taken: int = 0
    taken_tokens: int = 0


@dataclass(frozen=True)
class MixtureShare:
    """What a source gives to a mixture; one that is named twice gives as one.

    Attributes:
        source: as given.
        share: what it is to have of the examples, 0 to 1.
        examples: how many it has.
        taken: how many it gives.
        limits: whether it is why there are no more examples in all.
    """

    source: str
    share: float
    examples: int
    taken: int
    limits: bool = False


@dataclass(frozen=True)
class PairSummary:
    """What the preference pairs of a data set are like, those that are trained on.

    Attributes:
        chosen_tokens, rejected_tokens: mean tokens of the better and of the worse answers.
        longer, shorter: pairs whose better answer is the longer, or the shorter one.
        prompts: different prompts.
        shared: pairs whose prompt another pair has too.
        contradicted: pairs that another has the other way round.
        contradictions: for the first of those, the places of the pairs that contradict each other.
    """

    chosen_tokens: float
    rejected_tokens: float
    longer: int
    shorter: int
    prompts: int
    shared: int
    contradicted: int = 0
    contradictions: tuple[tuple[str, ...], ...] = ()

    @property
    def preferred_length(self) -> str:
        """``longer`` or ``shorter``, where the better answer is so often that one that a model may
        learn the length alone; else nothing.
        """
        from anima_core.data.length_bias import preferred_length

        return preferred_length(self.longer, self.shorter)


@dataclass(frozen=True)
class DataSummary:
    """What a data set holds, after encoding.

    Attributes:
        sources: as given.
        kind: ``completion``, ``preference`` or ``unpaired``.
        examples: those that are trained on.
        tokens: tokens of those, a shared prompt once.
        supervised_tokens: tokens that are targets.
        longest: tokens of the longest sequence.
        limit: the longest sequence allowed.
        overlong: how many examples were over the limit.
        dropped, truncated: what became of them.
        unsupervised: examples left out since they have nothing to learn from.
        formats: how many records came in each format.
        unread_fields: fields of the records that were not read.
        sha256: hash of the encoded examples.
        bad: records that cannot be used and were left out.
        bad_records: the first of those, where and why, and how many more there are.
        bad_kinds: how many there are of each kind of fault.
        weighted: examples whose messages have weights other than 0 and 1.
        margined: pairs that say by how much an answer is the better one.
        special_text: records that hold the text of special tokens.
        special_texts: how many hold that of each.
        special_places: the first of them.
        replaced_fields: fields of the records that another column was taken in the place of.
        remarks: how many records were read otherwise than they stand there, by sentence.
        placeholders: how many examples have each placeholder that was not filled.
        filled: how many had each placeholder that was.
        short: examples left out by ``--min-length``.
        split: examples over the limit that were laid out as several.
        not_drawn: examples left out by ``--max-examples``.
        per_source: what each source holds.
        over_prompt, over_answer: how many had a prompt, or an answer, over its own limit.
        mixture: what each source gives, where ``--mix`` says so.
        unmixed: examples left out by ``--mix``.
        lacking: how many examples fewer than ``--max-examples`` the mixture has.
        p50, p95: half, and 95%, of the sequences have at most so many tokens.
        copies: examples that are there already, token for token.
        alike: prompts that have the most frequent answer.
        unended: examples with an answer whose end is not taught.
        good_answers, bad_answers: of unpaired feedback, the examples whose answer is a good one,
            and the others.
        good_weight, bad_weight: the sum of the weights of each.
        unmatched: examples that should have another's answer beside their own, and have none.
        pairs: what preference pairs are like; None for other kinds.
        equal_pairs, equal_places: pairs left out since their answers are equal, and the first.
        early_pairs, early_places: pairs of dialogues that part before their last questions.
    """

    sources: tuple[str, ...]
    kind: str
    examples: int
    tokens: int
    supervised_tokens: int
    longest: int
    limit: int
    overlong: int = 0
    dropped: int = 0
    truncated: int = 0
    unsupervised: int = 0
    formats: Mapping[str, int] = field(default_factory=dict)
    unread_fields: tuple[str, ...] = ()
    sha256: str = ""
    bad: int = 0
    bad_records: tuple[str, ...] = ()
    bad_kinds: Mapping[str, int] = field(default_factory=dict)
    weighted: int = 0
    margined: int = 0
    special_text: int = 0
    special_texts: Mapping[str, int] = field(default_factory=dict)
    special_places: tuple[str, ...] = ()
    replaced_fields: tuple[str, ...] = ()
    remarks: Mapping[str, int] = field(default_factory=dict)
    placeholders: Mapping[str, int] = field(default_factory=dict)
    filled: Mapping[str, int] = field(default_factory=dict)
    short: int = 0
    split: int = 0
    not_drawn: int = 0
    per_source: tuple[SourceSummary, ...] = ()
    over_prompt: int = 0
    over_answer: int = 0
    mixture: tuple[MixtureShare, ...] = ()
    unmixed: int = 0
    lacking: int = 0
    p50: int = 0
    p95: int = 0
    copies: int = 0
    alike: int = 0
    unended: int = 0
    good_answers: int = 0
    bad_answers: int = 0
    good_weight: float = 0.0
    bad_weight: float = 0.0
    unmatched: int = 0
    pairs: PairSummary | None = None
    equal_pairs: int = 0
    equal_places: tuple[str, ...] = ()
    early_pairs: int = 0
    early_places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before weights are read.

    Attributes:
        model: the model as given and where it was found.
        slots: who answers each slot, and who stands in each stack.
        data, eval_data: what the data holds; None when it could not be read.
        device, dtype, dtype_reason: what is computed where, and why in that dtype.
        steps, steps_per_epoch: optimizer steps.
        learning_rate, learning_rate_reason: the peak, and where it comes from.
        memory: estimated bytes by component, in training.
        reference_memory: estimated bytes of another model that is the reference, as it is asked
            before training and freed; 0 where there is none.
        problems: everything found; a run with a problem of level ``error`` does not start.
        headline: the metrics that a person looks at first, as the loss says; empty for all.
    """

    model: str
    slots: tuple[SlotLine, ...]
    data: DataSummary | None
    eval_data: DataSummary | None
    device: str
    dtype: str
    dtype_reason: str
    steps: int
    steps_per_epoch: int
    learning_rate: float
    learning_rate_reason: str
    memory: Mapping[str, int]
    problems: tuple[Problem, ...]
    headline: tuple[str, ...] = ()
    reference_memory: int = 0

    @property
    def peak_memory(self) -> int:
        """Estimated bytes that the run needs: those of its training, or of its reference before."""
        return max(sum(self.memory.values()), self.reference_memory)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that refuse the run."""
        return tuple(p for p in self.problems if p.level == "error")

    @property
    def exit_code(self) -> int:
        """What `anima plan` exits with: 0, or the first error's code."""
        return self.errors[0].exit_code if self.errors else 0

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return asdict(self)
