"""What `anima plugins check` is asked to check: distributions, or a project's source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anima_core.config.paths import home_expanded
from anima_core.errors import UsageError
from anima_core.registry.names import CORE_DISTRIBUTION, did_you_mean, normalized_distribution
from anima_core.registry.offers import offers
from anima_core.testing.projects import Project, read_project


@dataclass(frozen=True)
class Target:
    """One distribution.

    Attributes:
        distribution, version: its name, in its one spelling, and version.
        project: its source, where that is checked rather than what is installed.
    """

    distribution: str
    version: str
    project: Project | None = None


def find_targets(target: str | None, disabled: Sequence[str]) -> list[Target]:
    """What a user's word means: a path where it looks like one, else a name before a folder.

    Args:
        target: a distribution's name in any spelling, or a project's folder; every distribution
            but the core's when None.
        disabled: distributions to leave out.

    Raises:
        UsageError: there is no such distribution or project.
    """
    installed = {o.distribution: Target(o.distribution, o.version) for o in offers(disabled)}
    if target is None:
        return [found for name, found in sorted(installed.items()) if name != CORE_DISTRIBUTION]
    name = normalized_distribution(target)
    is_path = os.sep in target or target in (".", "..")
    if name in installed and not is_path:
        return [installed[name]]
    folder = home_expanded(target)
    if folder.is_dir():
        project = read_project(folder)
        return [Target(project.name, project.version, project)]
    if is_path:
        raise UsageError("there is no such folder", where=target, fix=_nearest_folder(folder))
    raise UsageError(
        "no installed distribution of this name offers a strategy, and no folder is called so",
        where=target,
        fix=did_you_mean(name, installed) or f"these do: {', '.join(sorted(installed))}",
    )


def _nearest_folder(folder: Path) -> str:
    if not folder.parent.is_dir():
        return f"there is no folder {folder.parent} either"
    beside = [str(path) for path in folder.parent.iterdir() if path.is_dir()]
    return did_you_mean(str(folder), beside) or "check the path"
