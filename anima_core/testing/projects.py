"""A plugin's source folder as if it were installed: metadata and import paths for one process."""

from __future__ import annotations

import os
import sys
import sysconfig
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anima_core.errors import UsageError
from anima_core.registry.names import normalized_distribution
from anima_core.registry.offers import GROUP


@dataclass(frozen=True)
class Project:
    """What a source folder's ``pyproject.toml`` says.

    Attributes:
        folder: the folder.
        name: the distribution's name, in its one spelling.
        version: its version; ``0`` when the build decides it.
        strategies: what it offers: the entry points of the group ``anima.strategies``.
    """

    folder: Path
    name: str
    version: str
    strategies: Mapping[str, str]


def read_project(folder: Path) -> Project:
    """Read a source folder.

    Raises:
        UsageError: it has no ``pyproject.toml``, or one that offers no strategy.
    """
    path = folder / "pyproject.toml"
    try:
        read: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            "this folder holds no pyproject.toml that can be read",
            where=str(folder),
            fix="Name the folder of a plugin's source, or an installed distribution.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"is not valid TOML: {error}", where=str(path)) from error
    project = read.get("project", {})
    points = project.get("entry-points", {}).get(GROUP, {})
    if not points:
        raise UsageError(
            "it offers no strategy",
            where=str(path),
            fix=f'A plugin has a table [project.entry-points."{GROUP}"].',
        )
    name = normalized_distribution(str(project.get("name", folder.resolve().name)))
    return Project(folder.resolve(), name, str(project.get("version", "0")), points)


@contextmanager
def as_if_installed(project: Project) -> Iterator[list[str]]:
    """Metadata of a project, as its installation would write it.

    Yields:
        Folders for the front of a process' import path: the metadata's, then the source's.
    """
    with TemporaryDirectory() as name:
        stem = f"{project.name.replace('-', '_')}-{project.version}.dist-info"
        info = Path(name) / stem
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project.name}\nVersion: {project.version}\n",
            encoding="utf-8",
        )
        lines = [f"{word} = {value}" for word, value in project.strategies.items()]
        (info / "entry_points.txt").write_text(
            "\n".join([f"[{GROUP}]", *lines, ""]), encoding="utf-8"
        )
        source = project.folder / "src"
        yield [name, *([str(source)] if source.is_dir() else []), str(project.folder)]


def import_path(front: Sequence[str] = ()) -> str:
    """``PYTHONPATH`` under which another process imports what this one does.

    Args:
        front: folders to look in first; then come those of this process' own ``PYTHONPATH``.
    """
    asked = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    standard |= {str(Path(path) / "lib-dynload") for path in standard}
    own = [Path(path) for path in sys.path if path not in standard]
    folders = [*front, *asked, *(str(path.resolve()) for path in own if path.is_dir())]
    return os.pathsep.join(dict.fromkeys(folders))
