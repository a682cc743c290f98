"""Write a new folder: whole, or not at all, and over nothing."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from anima_core.cache import sync_path, sync_tree
from anima_core.errors import UsageError


def check_place(target: Path) -> None:
    """Refuse a folder that is there, or that has nowhere to be.

    Raises:
        UsageError: something is at `target`, or its parent is no folder.
    """
    if not target.parent.is_dir():
        what = f"there is no folder {target.parent}"
        raise UsageError(what, where="--into", fix="Make it first.")
    if os.path.lexists(target):
        raise UsageError(
            f"{target} is there already, and nothing is written over",
            where="NAME",
            fix="Choose another name, or another folder with --into.",
        )


def write_folder(target: Path, contents: Mapping[str, str]) -> None:
    """Write files aside, flush them, and rename their folder into place.

    Args:
        target: the folder to make.
        contents: text by path inside it.

    Raises:
        UsageError: something is at `target`, or it cannot be written.
    """
    check_place(target)
    aside = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    try:
        for name, text in contents.items():
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        sync_tree(aside)
        check_place(target)  # renaming would replace an empty folder made meanwhile
        aside.rename(target)
        sync_path(target.parent)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror or error}",
            where="--into",
            fix="Name a folder that you may write to.",
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
