"""A reference that is another model than the one that is trained.

It is loaded first, asked, and freed before the policy is loaded: there is never a second model in
memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anima_core.model.folder import model_folder
from anima_core.model.frozen import frozen_source, load_frozen, named
from anima_core.runs.manifest import fingerprint, trained_fingerprint
from anima_core.runs.reference import reference_option
from anima_core.training.checkpoint import trained_folder
from anima_core.training.reference_facts import model_facts
from anima_core.training.talk import first_here, together

if TYPE_CHECKING:
    from anima_core.context import RunContext
    from anima_core.model.frozen import FrozenModel
    from anima_core.model.resolve import ModelSource
    from anima_core.registry.selection import Selection
    from anima_core.runs.prepared import Prepared
    from anima_core.runs.reporter import Reporter


@dataclass(frozen=True)
class ReferenceModel:
    """A model that is there, its weights too, but not in memory.

    Attributes:
        run: the context of the run that it is for.
        where: the option that named it.
        source: where it comes from.
        selection: the strategies that load it.
        beside: its own context.
        folder: the folder of its base model.
    """

    run: RunContext
    where: str
    source: ModelSource
    selection: Selection
    beside: RunContext
    folder: Path

    def manifest(self) -> dict[str, Any]:
        """What the run's manifest says of it."""
        return {
            "given": self.source.given,
            "base": self.source.base,
            "kind": self.source.kind,
            "run": str(self.source.run) if self.source.run else None,
            "sha256": fingerprint(self.folder),
            "trained_sha256": trained_fingerprint(self.source.run),
        }

    def facts(self) -> dict[str, Any]:
        """What its log-probs depend on."""
        attention = self.selection.call("attention", run=self.beside)
        facts = model_facts(self.beside, self.selection, self.folder, self._trained(), attention)
        del facts["seed"]  # nothing of it is drawn
        # Its distribution is over the entries that both vocabularies have.
        return {**facts, "vocab": int(self.run.model_config.vocab_size)}

    @contextmanager
    def loaded(self, reporter: Reporter) -> Iterator[FrozenModel]:
        """The model, for as long as it is asked."""
        with reporter.stage("loading the reference model", None):
            model = together(lambda: load_frozen(self.run, self.source.given, where=self.where))
        try:
            yield model
        finally:
            model.free()

    def _trained(self) -> Path | None:
        return trained_folder(self.source.run) if self.source.run is not None else None


def reference_model(prepared: Prepared) -> ReferenceModel | None:
    """The model that the loss names as its reference, fetched; None where it is the policy.

    Raises:
        UsageError: it cannot be had.
    """
    name = getattr(prepared.loss, "reference_model", None)
    if name is None:
        return None
    where = reference_option(prepared.selection)
    with named(where):
        source, selection, beside = together(lambda: frozen_source(prepared.run, name))
        folder = first_here(lambda: model_folder(source, weights=True))
    return ReferenceModel(prepared.run, where, source, selection, beside, folder)
