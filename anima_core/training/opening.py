"""A run's first moments: whether all processes agree, and where it starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anima_core.config.dump import dump_run_file
from anima_core.errors import UsageError
from anima_core.runs.folder import RunFolder
from anima_core.runs.manifest import manifest_of
from anima_core.runs.prepared import Prepared
from anima_core.runs.resuming import check_same_run
from anima_core.training.checkpoint import newest_checkpoint
from anima_core.training.ranks import is_main
from anima_core.training.talk import exchange, from_main, together

if TYPE_CHECKING:
    from anima_core.training.reference_model import ReferenceModel


def check_agreement(prepared: Prepared) -> None:
    """Refuse processes that would not do the same.

    Raises:
        UsageError: their data, dtype or number of steps differ.
    """
    plan = prepared.plan
    facts = {
        "data": plan.data.sha256 if plan.data else None,
        "held-out data": plan.eval_data.sha256 if plan.eval_data else None,
        "dtype": plan.dtype,
        "steps": plan.steps,
    }
    said = exchange(facts)
    differing = [name for name in facts if any(other[name] != said[0][name] for other in said)]
    if differing:
        error = UsageError(
            f"the processes of this run do not have the same {', '.join(differing)}",
            where="torchrun",
            fix="Give all of them the same files and options; name --dtype.",
        )
        error.shared = True
        raise error


def step_to_start_from(prepared: Prepared, output: Path) -> int:
    """The step of the checkpoint that ``--resume`` goes on from, or 0."""
    return from_main(lambda: _newest_step(output)) if prepared.run.config.resume else 0


def open_run(
    prepared: Prepared,
    output: Path,
    model_dir: Path,
    step: int,
    reference: ReferenceModel | None = None,
) -> RunFolder:
    """Create the run directory, or go on with it after `step`.

    Raises:
        UsageError: the checkpoint is of another run than the one that was asked for.
    """
    config = prepared.run.config
    folder = RunFolder(output, writes=is_main())

    def start() -> None:
        manifest = manifest_of(prepared, model_dir)
        manifest["reference"] = reference.manifest() if reference is not None else None
        if step:
            check_same_run(folder.read_manifest(), manifest, step)
            folder.reopen(manifest, step)
            return
        folder.create(dump_run_file(config, prepared.selection.named), manifest)

    together(start)
    return folder


def _newest_step(output: Path) -> int:
    """The step of the newest complete checkpoint, or 0."""
    newest = newest_checkpoint(output)
    return newest[0] if newest is not None else 0
