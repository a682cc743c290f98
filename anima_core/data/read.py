"""The `files` strategy: records from files, folders, patterns and the hub."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from anima_core.config.paths import home_expanded
from anima_core.contracts import Record
from anima_core.data import columnar, folders, jsons, tables, texts
from anima_core.data.compressed import COMPRESSIONS, suffixes
from anima_core.data.hub import is_hub_id, read_hub
from anima_core.errors import DataError
from anima_core.hookspecs import hookimpl
from anima_core.strategy import NoOptions

if TYPE_CHECKING:
    from anima_core.context import RunContext

Reader = Callable[[str], Iterator[Record]]

_TEXTUAL: dict[str, Reader] = {
    ".json": jsons.read_json,
    ".jsonl": texts.read_jsonl,
    ".ndjson": texts.read_jsonl,
    ".csv": tables.read_csv,
    ".tsv": tables.read_csv,
    ".txt": texts.read_text,
    ".md": texts.read_text,
}
READERS: dict[str, Reader] = {
    **_TEXTUAL,
    ".parquet": columnar.read_parquet,
    ".arrow": columnar.read_arrow,
    ".feather": columnar.read_arrow,
    **{kind + c: reader for kind, reader in _TEXTUAL.items() for c in COMPRESSIONS},
}
"""Who reads a file, by its suffix and its compression's."""

# A hub id may hold a dot (`owner/set-1.5`), so a suffix means a file only if it is a known one.
_OTHER_FILES = frozenset({".gz", ".zst", ".zip", ".xz", ".bz2", ".xlsx", ".yaml", ".yml"})

_ENDS = "nothing behind that place was read"


class Files:
    """Reads every source in order; a name that is no file is a hub data set's."""

    api: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "Data from json, jsonl, csv, tsv, parquet, arrow and text files (also gzip and zstd), "
        "folders, patterns, or the hub"
    )
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
    """Read records from files, folders, patterns and hub data sets, in order.

    What is wrong with one record, or ends one file, is the `fault` of a record, and reading goes
    on behind it.

    Args:
        sources: paths, patterns (``data/*.jsonl``) or hub ids (``owner/name@config:split``).

    Yields:
        Records, each with its file and line.

    Raises:
        DataError: a source does not exist or holds no data, told before anything is read, or the
            hub's cannot be had.
    """
    found = [(source, files_of(source)) for source in sources]
    for source, files in found:
        if files is None:
            yield from _counted(source, read_hub(source))
        else:
            yield from _counted(source, (r for file in files.files for r in _read(file)))


def files_of(source: str) -> folders.Found | None:
    """The files that a source means.

    Args:
        source: a path, a pattern or a hub id.

    Returns:
        The files, and what was passed over beside them; None for a hub id.

    Raises:
        DataError: there is no such file, or no data in the folder.
    """
    path = home_expanded(source)
    try:
        exists = path.exists()
    except OSError as error:  # a name that is too long, or a loop of links
        raise DataError(f"cannot be read: {error.strerror}", where=source[:80]) from None
    if path.is_dir():
        return folders.in_folder(source, path, READERS)
    if exists:
        if _kind(path) not in READERS:
            raise _unknown(source, path)
        return folders.Found([source])
    if is_hub_id(source) and not _looks_like_a_file(source, path):
        return None
    if folders.is_pattern(source):
        return folders.of_pattern(source, path, READERS)
    if _looks_like_a_file(source, path):
        raise DataError("file not found", where=source, fix=_nearest(path))
    raise DataError("is neither a file nor the name of a hub data set", where=source)


def _read(file: str) -> Iterator[Record]:
    """A file's records; what ends it too early is the fault of one more."""
    line = 0
    try:
        for record in READERS[_kind(file)](file):
            line = record.line
            yield record
    except DataError as error:
        head, *around = error.what.split("\n")
        what = "\n".join([f"{head}; {_ENDS}", *around])
        yield Record({}, file, line + 1, DataError(what, where=error.where, fix=error.fix))


def _counted(source: str, records: Iterator[Record]) -> Iterator[Record]:
    empty = True
    for record in records:
        empty = False
        yield record
    if empty:
        fix = "give a file with at least one record"
        yield Record({}, source, 1, DataError("holds no records", where=source, fix=fix))


def _kind(path: str | Path) -> str:
    return "".join(suffixes(path))


def _unknown(source: str, path: Path) -> DataError:
    kind, compression = suffixes(path)
    if compression and kind in READERS:
        return DataError(
            f"{kind} is read as it is, not inside of {compression}",
            where=source,
            fix="unpack it: it is compressed by itself",
        )
    what = kind + compression or "a name without a suffix"
    known = [suffix for suffix in READERS if not suffix.endswith(COMPRESSIONS)]
    return DataError(
        f"cannot tell what kind of file {what} is",
        where=source,
        fix=f"known are {', '.join(known)}; the textual ones also as .gz and .zst",
    )


def _looks_like_a_file(source: str, path: Path) -> bool:
    if _kind(path) in READERS or path.suffix.lower() in _OTHER_FILES:
        return True
    if source.startswith((".", "/", "~")) or "\\" in source or source.count("/") > 1:
        return True
    return "/" in source and path.parent.is_dir()


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    names = [p.name for p in path.parent.iterdir() if _kind(p) in READERS]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / close[0]}?" if close else "check the path"
