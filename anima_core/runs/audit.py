"""From a request to an audit of its data: no weight is read, and no problem of the run counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from anima_core.config.core import CoreOptions
from anima_core.config.values import pairs_of
from anima_core.context import RunContext
from anima_core.errors import DataError
from anima_core.model.config import configured, read_config
from anima_core.model.folder import model_folder
from anima_core.model.resolve import ModelSource
from anima_core.registry.attribution import attributed
from anima_core.registry.selection import Selection
from anima_core.runs.capabilities import window_of
from anima_core.runs.chosen import chosen
from anima_core.runs.reporter import Reporter
from anima_core.runs.request import RunRequest

if TYPE_CHECKING:
    from anima_core.contracts import Loss, Record
    from anima_core.data.audit.report import AuditReport
    from anima_core.data.formats import Kind


def audit_data(
    request: RunRequest,
    *,
    reporter: Reporter,
    show: int = 0,
    records: Sequence[str] = (),
) -> AuditReport:
    """Audit the data of a request.

    Args:
        request: what a run is asked to be.
        reporter: told of the progress, and of what the chat template that was named lacks.
        show: how many examples to show.
        records: places of records to show besides.

    Raises:
        UsageError: an unknown option or strategy, or no such model.
        SetupError: a selected plugin does not import, or the tokenizer cannot be used.
        DataError: no data was named, or it cannot be read at all.
    """
    found = chosen(request)
    with attributed(found.selection):
        return _audit(*found, reporter, show, tuple(records))


def _audit(
    config: CoreOptions,
    source: ModelSource,
    selection: Selection,
    reporter: Reporter,
    show: int,
    wanted: tuple[str, ...],
) -> AuditReport:
    from anima_core.data.audit.look import Asked
    from anima_core.data.audit.report import Setting
    from anima_core.data.audit.run import audit
    from anima_core.data.handling import handling_of

    if not config.data:
        raise DataError("no data was named", where="DATA", fix="Name a file or a data set.")
    run = _context(config, source, selection)
    tokenizer = selection.call("load_tokenizer", run=run)
    template = _template(config, tokenizer, reporter)
    limit = config.max_length or window_of(run.model_config)
    found = [_read(run, selection, name) for name in config.data]
    learner = selection.call("loss", run=run)
    kind, kind_from, loss, found[0] = _kind(run, selection, learner, found[0])
    setting = Setting(
        model=source.given,
        template=template,
        kind=kind,
        kind_from=kind_from,
        loss=loss,
        sources=config.data,
        limit=limit,
        prompt_limit=config.max_prompt_length,
        answer_limit=config.max_answer_length,
        mismatched=bool(loss) and bool(getattr(learner, "mismatched", False)),
        **{name: getattr(config, name) for name in _TOLD},
    )
    with reporter.stage("reading and encoding data", None) as done:
        return audit(
            found,
            tokenizer,
            kind=kind,
            handling=handling_of(config),
            asked=Asked(
                config.overlong,
                config.train_on,
                config.min_length or 0,
                show,
                config.seed,
                wanted,
            ),
            setting=setting,
            note=reporter.note,
            progress=done,
        )


def _read(run: RunContext, selection: Selection, source: str) -> Iterator[Record]:
    """A source's records, read as they are asked for."""
    records: Iterable[Record] = selection.call("read_data", run=run, sources=[source])
    yield from records


_TOLD = (
    "overlong",
    "train_on",
    "batch_size",
    "micro_tokens",
    "batching",
    "max_examples",
    "mix",
    "seed",
    "skip_bad_records",
)


def _context(config: CoreOptions, source: ModelSource, selection: Selection) -> RunContext:
    """The run, as far as its data depends on it: nothing is computed, so on no device."""
    folder = model_folder(source, weights=False)
    run = RunContext(
        config=config,
        strategies=selection.strategies,
        model_dir=folder,
        model_config=read_config(folder, config),
        device="cpu",
        dtype="float32",
        weights_dtype="float32",
    )
    return configured(run, selection)


def _template(config: CoreOptions, tokenizer: Any, reporter: Reporter) -> str:
    """Give the tokenizer the template that was named; where the one it has comes from."""
    from anima_core.data.chosen_template import use_template

    if not config.template:
        return (
            "the model's own" if tokenizer.chat_template else "none: messages are laid out plainly"
        )
    for problem in use_template(tokenizer, config.template):
        reporter.warn(f"{problem.where}: {problem.what}. {problem.fix}")
    return f"--template {config.template}"


def _kind(
    run: RunContext, selection: Selection, loss: Loss, records: Any
) -> tuple[Kind, str, str, Iterator[Record]]:
    """What the data is read as, what decided that, and which strategy learns from it."""
    from anima_core.data.audit.kinds import kind_of

    config, provider = run.config, selection.providers["loss"]
    if not provider.default:
        return loss.data, f"--{provider.strategy}", provider.strategy, iter(records)
    kind, stream = kind_of(records, pairs_of(config.columns), config.format)
    told = "--format" if config.format else "the records"
    return kind, told, provider.strategy if loss.data == kind else "", stream
