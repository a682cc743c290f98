"""The data of a plan: what is trained on, what is held out, and what is wrong with either."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from anima_core.errors import AnimaError, DataError, UsageError
from anima_core.problems import Problem
from anima_core.registry.names import CORE_DISTRIBUTION
from anima_core.runs.capabilities import (
    margin_notes,
    weight_problems,
    window_of,
    window_problems,
)
from anima_core.runs.plan import DataSummary
from anima_core.runs.unpaired import data_problems, with_other_answers

if TYPE_CHECKING:
    from anima_core.batch import EncodedExample
    from anima_core.context import RunContext
    from anima_core.contracts import Loss, Record
    from anima_core.data.formats import Kind
    from anima_core.data.intake import Source
    from anima_core.data.store import Examples
    from anima_core.registry.selection import Selection
    from anima_core.runs.reporter import Reporter

T = TypeVar("T")


class Loaded(NamedTuple):
    """Examples and what the plan says of them; None where there are none to speak of."""

    examples: Sequence[EncodedExample] = ()
    summary: DataSummary | None = None


def attempt(problems: list[Problem], step: Callable[[], T]) -> T | None:
    """Run a step; what a user can mend becomes one of the problems."""
    try:
        return step()
    except AnimaError as error:
        problems.append(Problem(error.where, error.what, error.fix, exit_code=error.exit_code))
        return None


class DataLoader:
    """Loads the data of a run, and adds what is wrong with it to the plan's problems.

    Args:
        run: the run.
        selection: who reads.
        tokenizer: who encodes.
        loss: who learns; None where its strategy failed.
        reporter: hears of the progress.
        problems: the plan's.
    """

    def __init__(
        self,
        run: RunContext,
        selection: Selection,
        tokenizer: Any,
        loss: Loss | None,
        reporter: Reporter,
        problems: list[Problem],
    ) -> None:
        self._run = run
        self._selection = selection
        self._tokenizer = tokenizer
        self._loss = loss
        self._kind: Kind = loss.data if loss is not None else "completion"
        self._reporter = reporter
        self._problems = problems

    def both(self) -> tuple[Loaded, Loaded]:
        """What is trained on, and what is held out."""
        config = self._run.config
        examples, data = self._load(config.data)
        trained, held_out = Loaded(examples, data), Loaded()
        if config.eval_fraction and data:
            trained, held_out = self._parted(examples, data)
        elif config.eval_data:
            held_out = Loaded(*self._load(config.eval_data))
        loss = self._loss
        *there, found = with_other_answers(loss, *trained)
        flag = "--eval-fraction" if config.eval_fraction else "--eval-data"
        *beside, others = with_other_answers(loss, *held_out, held_out_by=flag)
        trained, held_out = Loaded(*there), Loaded(*beside)
        self._problems += [*found, *others, *data_problems(loss, trained.summary)]
        for summary in (trained.summary, held_out.summary):
            if loss is not None and summary is not None:
                self._problems += weight_problems(self._selection, loss, summary)
                self._problems += margin_notes(self._selection, loss, summary)
        return trained, held_out

    def _load(self, sources: Sequence[str]) -> tuple[Examples, DataSummary | None]:
        from anima_core.data.chosen_template import use_template
        from anima_core.data.dataset import load_sources
        from anima_core.data.handling import handling_of
        from anima_core.data.notes import data_notes, data_warnings, idle_problems
        from anima_core.data.store import Examples

        run, config = self._run, self._run.config
        training = sources == config.data
        limit = config.max_length or window_of(run.model_config)
        if training:
            self._problems += window_problems(run)

        def load() -> tuple[Examples, DataSummary]:
            if config.template:
                found = use_template(self._tokenizer, config.template)
                self._problems.extend(p for p in found if p not in self._problems)
            if not sources:
                raise DataError("no data was named", where="DATA", fix="Name a file or a data set.")
            with self._reporter.stage("encoding data", None) as done:
                return load_sources(
                    [self._source(source) for source in sources],
                    self._tokenizer,
                    kind=self._kind,
                    limit=limit,
                    overlong=config.overlong,
                    handling=handling_of(config, training=training),
                    cache=config.cache,
                    note=self._note,
                    progress=done,
                )

        loaded = attempt(self._problems, load)
        if loaded is None:
            return Examples(()), None
        for text in data_notes(loaded[1], self._tokenizer):
            self._problems.append(Problem("data", text, level="note"))
        for text, fix in data_warnings(loaded[1]):
            self._problems.append(Problem("data", text, fix, level="warning"))
        if training:
            self._problems += idle_problems(loaded[1], config)
        return loaded

    def _source(self, name: str) -> Source:
        """One DATA argument; what another reader than the core's reads is not known beforehand."""
        from anima_core.data.intake import Source
        from anima_core.data.read import files_of

        def read() -> Iterable[Record]:
            records: Iterable[Record] = self._selection.call(
                "read_data", run=self._run, sources=[name]
            )
            return records

        by_core = self._selection.providers["read_data"].distribution == CORE_DISTRIBUTION
        found = files_of(name) if by_core else None
        return Source(name, read, tuple(found.files) if found else None)

    def _note(self, text: str) -> None:
        note = Problem("data", text, level="note")
        if note not in self._problems:
            self._problems.append(note)

    def _parted(self, examples: Examples, data: DataSummary) -> tuple[Loaded, Loaded]:
        """What is trained on and what is held out by ``--eval-fraction``."""
        from anima_core.data.dataset import parted

        config = self._run.config

        def part() -> tuple[Loaded, Loaded]:
            if config.eval_data:
                what = "it and --eval-data both say what to evaluate on"
                raise UsageError(what, where="--eval-fraction", fix="Give one of the two.")
            kept, held_out = parted(examples, data, config.eval_fraction or 0.0, config.seed)
            return Loaded(*kept), Loaded(*held_out)

        return attempt(self._problems, part) or (Loaded(examples, data), Loaded())
