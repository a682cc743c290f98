"""Checkpoints: complete or absent, and without a pickle.

checkpoints/step-000100/
adapter/ (or model/)   what was trained
optimizer.*            moments
schedule.*             the learning-rate schedule
loss.*                 a loss's own state, when it has one
state.json             step, losses so far
COMPLETE               written last, before the folder is renamed into place
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anima_core.cache import whole_folder
from anima_core.contracts import Adapter
from anima_core.training.state import load_state, save_state

COMPLETE = "COMPLETE"


@dataclass(frozen=True)
class Trained:
    """What a checkpoint holds: the objects with state."""

    adapter: Adapter
    optimizer: Any
    schedule: Any
    loss: Any


def checkpoint_folder(run_dir: Path, step: int) -> Path:
    """The folder of the checkpoint after `step` optimizer steps."""
    return run_dir / "checkpoints" / f"step-{step:06d}"


def save_checkpoint(run_dir: Path, step: int, trained: Trained) -> Path:
    """Write a checkpoint aside, flush it, and rename it into place."""
    target = checkpoint_folder(run_dir, step)
    if target.exists():
        shutil.rmtree(target)
    with whole_folder(target) as aside:
        weights = aside / trained.adapter.folder
        weights.mkdir()
        trained.adapter.save(weights)
        save_state(trained.optimizer.state_dict(), aside, "optimizer")
        save_state(trained.schedule.state_dict(), aside, "schedule")
        if hasattr(trained.loss, "state_dict"):
            save_state(trained.loss.state_dict(), aside, "loss")
        (aside / "state.json").write_text(json.dumps({"step": step}), encoding="utf-8")
        (aside / COMPLETE).touch()
    return target


def newest_checkpoint(run_dir: Path) -> tuple[int, Path] | None:
    """The newest complete checkpoint's step and folder."""
    found = [
        (int(folder.name.removeprefix("step-")), folder)
        for folder in (run_dir / "checkpoints").glob("step-*")
        if (folder / COMPLETE).is_file()
    ]
    return max(found, default=None)


def trained_folder(run_dir: Path) -> Path | None:
    """Where a run directory holds what it trained: its result, else its newest checkpoint.

    A run trains one of the two, an adapter or a model. Its newest checkpoint tells which, where
    there is one: a model beside an adapter may be a merged one.

    Returns:
        A folder that an adapter was saved in; None where the run has neither.
    """
    newest = newest_checkpoint(run_dir)
    places = [run_dir, *([newest[1]] if newest is not None else [])]
    names = [name for name in ("adapter", "model") if (places[-1] / name).is_dir()]
    found = (place / name for place in places for name in names)
    return next((folder for folder in found if folder.is_dir()), None)


def load_checkpoint(folder: Path, trained: Trained) -> None:
    """Load a checkpoint's state into the objects of a run."""
    trained.adapter.load(folder / trained.adapter.folder)
    trained.optimizer.load_state_dict(load_state(folder, "optimizer"))
    trained.schedule.load_state_dict(load_state(folder, "schedule"))
    _follow_schedule(trained.optimizer, trained.schedule)
    if hasattr(trained.loss, "load_state_dict") and (folder / "loss.json").is_file():
        trained.loss.load_state_dict(load_state(folder, "loss"))


def _follow_schedule(optimizer: Any, schedule: Any) -> None:
    """Set the next step's rate from the schedule as it is now: a run may have got longer."""
    for group, base, factor in zip(
        optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
    ):
        group["lr"] = base * factor(schedule.last_epoch)
