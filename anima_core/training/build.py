"""From a prepared run to a model that can be trained."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anima_core.contracts import Adapter, Attention
from anima_core.errors import UsageError
from anima_core.model.folder import model_folder
from anima_core.model.head import check_head, unwrap
from anima_core.model.resolve import ModelSource
from anima_core.quiet import quiet_libraries
from anima_core.training.seeding import seed_step

if TYPE_CHECKING:
    from anima_core.context import RunContext
    from anima_core.registry.selection import Selection
    from anima_core.runs.reporter import Reporter


@dataclass(frozen=True)
class Built:
    """A model, ready to be called.

    Attributes:
        run: the context, with the weights' folder.
        adapter: the adapted model.
        patches: reversible changes, to be entered before use, the first outermost.
    """

    run: RunContext
    adapter: Adapter
    patches: Sequence[AbstractContextManager[None]]


def build_model(
    source: ModelSource,
    run: RunContext,
    selection: Selection,
    attention: Attention,
    reporter: Reporter,
) -> Built:
    """Load, adapt and patch a model; a run's adapter is loaded on top.

    Raises:
        UsageError: the weights or the adapter do not fit.
    """
    run = replace(run, model_dir=model_folder(source, weights=True))
    seed_step(run.config.seed, -1, 0)
    with reporter.stage("loading the model", None), quiet_libraries():
        model = selection.call("load_model", run=run, config=run.model_config, attention=attention)
        check_head(model)
        adapter: Adapter = selection.call("adapt_model", run=run, model=model)
        _check_trainable(adapter, selection)
        if source.run is not None:
            adapter.load(adapter_folder(source.run, adapter))
    if run.config.gradient_checkpointing:
        checkpoint_gradients(adapter.model)
    patches = [p for _, p in selection.call_stack("patch_model", run=run, model=adapter.model)]
    return Built(run, adapter, patches)


def adapter_folder(run: Path, adapter: Adapter) -> Path:
    """The `trained_folder` of a run, which an adapter is to load.

    Raises:
        UsageError: the run has none, or one of another kind.
    """
    from anima_core.training.checkpoint import trained_folder

    found = trained_folder(run)
    if found is not None and found.name == adapter.folder:
        return found
    if found is not None:
        whole = run / "model"
        raise UsageError(
            f"the run {run} holds a trained {found.name}, and the strategies chosen now want a "
            f"trained {adapter.folder}",
            where="MODEL",
            fix=f"Name {whole} as MODEL." if whole.is_dir() else "Use its strategies.",
        )
    raise UsageError(
        f"the run {run} holds no {adapter.folder}/ and no checkpoint with one",
        where="MODEL",
        fix="Let it finish (anima train … --resume), or use the strategies it was trained with.",
    )


def checkpoint_gradients(model: Any) -> None:
    """Recompute activations in the backward pass, without reentrant autograd."""
    inner = unwrap(model)
    with quiet_libraries():  # deprecated in 5.23 for a name that 5.0 does not have
        inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _check_trainable(adapter: Adapter, selection: Selection) -> None:
    provider = selection.providers["adapt_model"]
    own = {id(p) for p in adapter.model.parameters() if p.requires_grad}
    named = {id(p) for p in adapter.trainable.values()}
    if not named:
        raise UsageError(f"{provider} leaves nothing to train", where=f"--{provider.strategy}")
    if own != named:
        raise UsageError(
            f"{provider} names {len(named)} parameters as trainable, but {len(own)} require a "
            "gradient",
            where=f"--{provider.strategy}",
            fix="The plugin must freeze every other parameter.",
        )
