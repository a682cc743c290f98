"""The `files` strategy: records from json, jsonl, csv, tsv and parquet files and from the hub."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from anima_core.config.paths import home_expanded
from anima_core.contracts import Record
from anima_core.data import tables, texts
from anima_core.data.hub import read_hub
from anima_core.errors import DataError
from anima_core.hookspecs import hookimpl
from anima_core.strategy import NoOptions

if TYPE_CHECKING:
    from anima_core.context import RunContext

READERS: dict[str, Callable[[str], Iterator[Record]]] = {
    ".json": texts.read_json,
    ".jsonl": texts.read_jsonl,
    ".ndjson": texts.read_jsonl,
    ".csv": tables.read_csv,
    ".tsv": tables.read_csv,
    ".parquet": tables.read_parquet,
}
"""Who reads a file, by its suffix."""

# A hub id may hold a dot (`owner/set-1.5`), so a suffix means a file only if it is a known one.
_OTHER_FILES = frozenset({".txt", ".gz", ".zst", ".zip", ".xz", ".xlsx", ".yaml", ".yml", ".arrow"})


class Files:
    """Reads every source in order; a name that is no file is a hub data set's."""

    api: ClassVar[int] = 1
    summary: ClassVar[str] = "Data from json, jsonl, csv, tsv and parquet files or the hub"
    slots: ClassVar[tuple[str, ...]] = ("read_data",)
    requires: ClassVar[tuple[str, ...]] = ()
    conflicts: ClassVar[tuple[str, ...]] = ()
    Options: ClassVar[type[NoOptions]] = NoOptions

    def __init__(self, options: NoOptions) -> None:
        self.options = options

    @hookimpl
    def read_data(self, run: RunContext, sources: Sequence[str]) -> Iterable[Record]:  # noqa: ARG002
        """Records of all sources, one at a time, as they are asked for."""
        return read_sources(sources)


def read_sources(sources: Sequence[str]) -> Iterator[Record]:
    """Read records from files and hub data sets, in order.

    Args:
        sources: paths or hub ids.

    Yields:
        Records, each with its file and line.

    Raises:
        DataError: a source is missing, empty, unreadable or malformed; the message says where.
    """
    for source in sources:
        count = 0
        for record in _reader(source)(source):
            count += 1
            yield record
        if not count:
            raise DataError(
                "holds no records", where=source, fix="give a file with at least one record"
            )


def _reader(source: str) -> Callable[[str], Iterator[Record]]:
    path = home_expanded(source)
    suffix = path.suffix.lower()
    if path.is_dir():
        raise DataError("is a folder", where=source, fix=f"name its files, e.g. {source}/*.jsonl")
    if path.exists():
        if suffix not in READERS:
            raise DataError(
                f"cannot tell what kind of file {suffix or 'a name without a suffix'} is",
                where=source,
                fix=f"known are {', '.join(READERS)}",
            )
        return READERS[suffix]
    if _looks_like_a_file(source, path):
        raise DataError("file not found", where=source, fix=_nearest(path))
    return read_hub


def _looks_like_a_file(source: str, path: Path) -> bool:
    if path.suffix.lower() in READERS or path.suffix.lower() in _OTHER_FILES:
        return True
    if source.startswith((".", "/", "~")) or "\\" in source or source.count("/") > 1:
        return True
    return "/" in source and path.parent.is_dir()


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    names = [p.name for p in path.parent.iterdir() if p.suffix.lower() in READERS]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / close[0]}?" if close else "check the path"
