"""Where derived files are kept between runs, and how they are written: whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_root() -> Path:
    """The cache folder: ``$ANIMA_CACHE``, else ``anima`` under the user's cache folder."""
    if chosen := os.environ.get("ANIMA_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "anima"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Fill a folder beside `target`, then rename it there; leave nothing behind on failure.

    When two processes fill the same target, the first to finish wins and the other's is dropped.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        aside.chmod(0o755)
        yield aside
        sync_tree(aside)
        try:
            aside.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        else:
            sync_path(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_whole(target: Path, text: str) -> None:
    """Write a text file aside, flush it, and rename it into place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sync_tree(folder: Path) -> None:
    """Flush every file of a folder, and the folder, to the disk."""
    for path in sorted(folder.rglob("*")):
        sync_path(path)
    sync_path(folder)


def sync_path(path: Path) -> None:
    """Flush one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
