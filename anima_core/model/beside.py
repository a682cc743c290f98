"""Whether a model fits beside the one that is trained, found without reading a weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anima_core.errors import AnimaError
from anima_core.model.frozen import frozen_source, named
from anima_core.problems import Problem

if TYPE_CHECKING:
    from anima_core.context import RunContext


def check_same_vocabulary(run: RunContext, source: str, *, where: str = "") -> list[Problem]:
    """Problems between the vocabulary of another model and that of the trained one.

    For a `validate` hook: token ids of one must mean the same in the other. Where only the heads
    differ in size (one is padded), the entries that both have are compared, and a note says so.

    Args:
        run: the run.
        source: the other model, as in `load_frozen`.
        where: the option that named it.

    Returns:
        Nothing when they agree. A source that cannot be found or read is a problem too.
    """
    from anima_core.generation import tokenizer_context
    from anima_core.model.tokenizer import AutoTokenizerStrategy
    from anima_core.strategy import NoOptions

    load = AutoTokenizerStrategy(NoOptions()).load_tokenizer
    try:
        with named(where):
            found, selection, beside = frozen_source(run, source)
            context = tokenizer_context(found, beside)
            theirs = selection.call("load_tokenizer", run=context).get_vocab()
        ours = load(run).get_vocab()
    except AnimaError as error:
        return [Problem(error.where, error.what, error.fix, exit_code=error.exit_code)]
    if difference := _difference(ours, theirs):
        fix = "Use a model with the same tokenizer: one of the same family."
        return [Problem(where, f"{source} has another vocabulary: {difference}", fix)]
    rows, own = int(beside.model_config.vocab_size), int(run.model_config.vocab_size)
    if rows == own:
        return []
    what = (
        f"the head of {source} has {rows} entries and the model's {own}: the first "
        f"{min(rows, own)} are compared"
    )
    return [Problem(where, what, level="note")]


def _difference(ours: Mapping[str, int], theirs: Mapping[str, int]) -> str:
    """How two vocabularies differ, by an example; empty when they are the same."""
    if ours == theirs:
        return ""
    sizes = "" if len(ours) == len(theirs) else f"{len(theirs)} tokens, and the model's {len(ours)}"
    tokens, others = ({index: token for token, index in v.items()} for v in (ours, theirs))
    both = sorted(tokens.keys() & others.keys())
    first = next((index for index in both if tokens[index] != others[index]), None)
    if first is None:
        return sizes or "some ids have no token in one of them"
    example = f"token {first} is {others[first]!r} there and {tokens[first]!r} in the model"
    return f"{sizes}; {example}" if sizes else example


def check_window(run: RunContext, source: str, *, where: str = "") -> list[Problem]:
    """Problems where another model reads shorter sequences than this run makes.

    Args:
        run: the run.
        source: the other model, as in `load_frozen`.
        where: the option that named it.

    Returns:
        An error where ``--max-length`` says more than the other model reads; a warning where
        only the trained model could read more, since the data may be short. None for a source
        that cannot be found, which `check_same_vocabulary` reports.
    """
    from anima_core.runs.capabilities import window_of

    try:
        window = window_of(frozen_source(run, source)[2].model_config)
        limit = run.config.max_length or window_of(run.model_config)
    except AnimaError:
        return []
    if limit <= window:
        return []
    asked = run.config.max_length is not None
    return [
        Problem(
            where,
            f"{source} reads {window} tokens at most, and examples may have {limit}",
            f"Say --max-length {window} or less.",
            level="error" if asked else "warning",
        )
    ]


def frozen_bytes(run: RunContext, source: str) -> int:
    """Bytes that another model's weights take beside the run's, estimated from its config.

    For an `estimate_memory` hook. Raises `UsageError` when there is no such model.
    """
    from anima_core.runs.memory import frozen_weights

    _, selection, beside = frozen_source(run, source)
    return frozen_weights(beside, selection)
