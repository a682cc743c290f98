"""Encoded data of earlier runs, under a hash of everything that it depends on.

An entry is a folder ``tokens/<key>`` of the cache: an Arrow file and a header with its hash, how
many rows it has, and what was counted as it was made. It is written aside and renamed, so it is
there whole or not at all; one that is damaged is never used.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anima_core.cache import cache_root
from anima_core.config.paths import home_expanded
from anima_core.data.compressed import suffixes
from anima_core.data.plain_values import retold, told
from anima_core.data.tally import Tally

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from anima_core.config.core import Overlong
    from anima_core.data.formats import Kind
    from anima_core.data.handling import Handling

VERSION = 1
"""Of what is written; another one is never read."""

UNUSED_DAYS = 30
"""An entry that nobody asked for in so many days is removed when another is written."""

ROWS = "examples.arrow"
HEADER = "entry.json"
PACKAGES = ("anima-adapt", "transformers", "tokenizers", "jinja2")
NOT_IN_KEY = ("max_examples", "mix", "seed")
"""What is done with examples that are encoded already."""


@dataclass(frozen=True)
class Entry:
    """One source's examples.

    Attributes:
        rows: the Arrow file.
        tally: what was counted as it was made.
    """

    rows: Path
    tally: Tally


def facts(
    tokenizer: PreTrainedTokenizerBase,
    kind: Kind,
    handling: Handling,
    limit: int,
    overlong: Overlong,
) -> dict[str, Any]:
    """Everything but the files that encoded examples depend on, as JSON values."""
    # A call sets padding and cutting off, which else would be part of the tokenizer's text.
    tokenizer("", add_special_tokens=False, verbose=False)
    template = json.dumps(tokenizer.chat_template)
    options = {name: value for name, value in asdict(handling).items() if name not in NOT_IN_KEY}
    return {
        "cache": VERSION,
        "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        "class": type(tokenizer).__qualname__,
        "special": {k: str(v) for k, v in tokenizer.special_tokens_map.items()},
        "template": template,
        "today": date.today().isoformat() if "strftime_now" in template else "",  # noqa: DTZ011
        "kind": kind,
        "limit": limit,
        "overlong": overlong,
        "options": options,
        "code": _code(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


@cache
def _code() -> str:
    """A hash of what makes examples of records: between releases it changes without a version."""
    here = Path(__file__).parent
    whole = hashlib.sha256()
    for file in sorted((*here.glob("*.py"), *here.glob("formats/*.py"))):
        whole.update(file.read_bytes())
    return whole.hexdigest()


def key_of(facts: Mapping[str, Any], files: Sequence[str]) -> str:
    """The key of some files' examples: of their bytes, order and kind, not of their names.

    Args:
        facts: what else the examples depend on.
        files: the files.

    Raises:
        OSError: one cannot be read.
    """
    contents = []
    for file in files:
        with home_expanded(file).open("rb") as stream:
            contents.append([*suffixes(file), hashlib.file_digest(stream, "sha256").hexdigest()])
    text = json.dumps([facts, contents], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def folder_of(key: str) -> Path:
    """Where an entry is, or would be."""
    return cache_root() / "tokens" / key


def read(key: str, names: Sequence[str], *, check: bool = True) -> Entry | None:
    """An entry.

    Args:
        key: its key.
        names: the names that its files have now.
        check: whether to compare the Arrow file with its hash.

    Returns:
        The entry, marked as used today; None where there is none.

    Raises:
        ValueError: there is one, but it is damaged.
    """
    folder = folder_of(key)
    try:
        header = json.loads((folder / HEADER).read_text("utf-8"))
        if check and _hash(folder / ROWS) != header["sha256"]:
            raise ValueError("its hash is another")
        tally = retold(Tally, header["tally"], names)
    except (FileNotFoundError, NotADirectoryError):
        if folder.exists():
            raise ValueError("a file is missing") from None
        return None
    except (KeyError, TypeError, AttributeError, IndexError, OSError, zlib.error) as error:
        raise ValueError(str(error)) from None
    with suppress(OSError):  # a cache that others filled may be read-only
        os.utime(folder / HEADER)
    return Entry(folder / ROWS, tally)


def write_header(folder: Path, tally: Tally, names: Sequence[str]) -> None:
    """Complete an entry whose Arrow file is written.

    Args:
        folder: the entry's folder, still aside.
        tally: what was counted.
        names: the names of its files.
    """
    header = {"sha256": _hash(folder / ROWS), "tally": told(tally, names)}
    (folder / HEADER).write_text(json.dumps(header), encoding="utf-8")


def drop(key: str) -> None:
    """Remove an entry."""
    shutil.rmtree(folder_of(key), ignore_errors=True)


def remove_unused() -> None:
    """Remove entries, and what an interrupted run left of one, that nobody used for long."""
    oldest = time.time() - UNUSED_DAYS * 86400
    for folder in (cache_root() / "tokens").iterdir():
        marks = [folder / HEADER, folder]
        used = max((mark.stat().st_mtime for mark in marks if mark.exists()), default=oldest)
        if used < oldest:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def alone(key: str) -> Iterator[bool]:
    """Wait until no other process makes this entry; yields whether that took any waiting.

    Processes of one run, or runs side by side, would else all make the same. Where locks are not
    to be had, they do.
    """
    try:
        import fcntl
    except ImportError:  # no POSIX
        yield False
        return
    path = cache_root() / "tokens" / f".{key}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        waits = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits = True
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a network's file system
            pass
        try:
            yield waits
        finally:
            path.unlink(missing_ok=True)


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
