"""Which values of a run file are paths, and against what folder they are meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_MAYBE_PATHS = frozenset({"model", "data", "eval_data", "sample_prompts", "template"})
"""Options that hold a path or something else: a hub id, ``demo``, a prompt, a known name."""

_FILES_ONLY = frozenset({"sample_prompts", "template"})
"""Options whose value is a path only where it is a file."""

_FILES = frozenset(
    {
        ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".gguf",
        ".txt", ".md", ".gz", ".zst",
    }
)  # fmt: skip


def anchored(option: str, value: Any, folder: Path) -> Any:
    """A core option's value with its relative paths resolved against a folder.

    A value that may be something else than a path (a hub id) is one when it exists there,
    begins with a dot and a slash, or ends like a file; a prompt, only when it exists there.
    """
    if isinstance(value, list):
        return [anchored(option, item, folder) for item in value]
    if option == "mix":
        return _shares(value, lambda source: anchored("data", source, folder))
    if not isinstance(value, str) or not value:
        return value
    if option == "output":
        return str(_join(folder, value))
    if option in _MAYBE_PATHS and _is_path(option, value, folder):
        return str(_join(folder, value))
    return value


def anchored_option(value: Any, folder: Path) -> Any:
    """A strategy's option; text that begins with ``./`` or ``../`` is a path."""
    if isinstance(value, list):
        return [anchored_option(item, folder) for item in value]
    return str(_join(folder, value)) if _is_relative(value) else value


def absolute(option: str, value: Any) -> Any:
    """A core option's value with what exists on this machine made absolute."""
    if isinstance(value, (list, tuple)):
        return [absolute(option, item) for item in value]
    if option == "mix":
        return _shares(value, lambda source: absolute("data", source))
    if isinstance(value, Path):
        return str(home_expanded(value).absolute())
    if option in _MAYBE_PATHS and isinstance(value, str):
        there = _exists(option, Path.cwd(), value) or _matches(option, Path.cwd(), value)
        return str(_join(Path.cwd(), value)) if there else value
    return value


def _shares(value: Any, changed: Callable[[str], Any]) -> Any:
    """``--mix``: ``SOURCE=SHARE``, or a mapping of sources to shares, with other sources."""
    if isinstance(value, Mapping):
        return [f"{changed(str(source))}={share}" for source, share in value.items()]
    source, equals, share = str(value).rpartition("=")
    return f"{changed(source)}={share}" if equals else value


def _is_path(option: str, value: str, folder: Path) -> bool:
    if option == "sample_prompts":  # a prompt may begin or end with anything
        return _exists(option, folder, value)
    return (
        _is_relative(value)
        or Path(value).suffix.lower() in _FILES
        or _exists(option, folder, value)
        or _matches(option, folder, value)
    )


def _exists(option: str, folder: Path, value: str) -> bool:
    if not value:
        return False
    if option == "model" and value == "demo":  # the demo model, unless a run bears its name
        return (folder / value / "manifest.json").is_file()
    try:
        path = _join(folder, value)
        return path.is_file() if option in _FILES_ONLY else path.exists()
    except (OSError, ValueError):  # a prompt may be too long for a path
        return False


def _matches(option: str, folder: Path, value: str) -> bool:
    """Whether this is a pattern that means some data (``data/*``)."""
    import glob

    if option not in ("data", "eval_data") or not glob.has_magic(value):
        return False
    found = glob.iglob(str(_join(folder, value)), recursive=True)  # noqa: PTH207 - `**` and all
    return next(found, None) is not None


def _is_relative(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("./", "../", ".\\", "..\\"))


def _join(folder: Path, value: str) -> Path:
    import os

    return Path(os.path.normpath(folder / home_expanded(value)))


def home_expanded(value: str | Path) -> Path:
    """A path with a leading ``~`` made this user's home; ``~nobody`` is left as it is.

    `Path.expanduser` raises where there is no such user, and a prompt may begin with anything.
    """
    import os

    return Path(os.path.expanduser(value))  # noqa: PTH111 - see above
