"""One source's examples: from the cache of an earlier run, or encoded and kept for the next."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anima_core.cache import whole_folder
from anima_core.config.paths import home_expanded
from anima_core.contracts import Record
from anima_core.data import token_cache
from anima_core.data.encoder import Encoder
from anima_core.data.parallel import encode_all, refuse_unguarded
from anima_core.data.store import Store, Writer
from anima_core.data.tally import Tally
from anima_core.errors import DataError


@dataclass(frozen=True)
class Source:
    """Where records come from: one DATA argument.

    Attributes:
        name: as given.
        read: begins to read it.
        files: the files that are read, in order, where they and the options decide all that comes
            of it; None where something else does too, so that nothing can be kept of it.
    """

    name: str
    read: Callable[[], Iterable[Record]]
    files: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What records and faults may be of."""
        return (*(self.files or ()), self.name)


@dataclass(frozen=True)
class Taken:
    """What came of a source.

    Attributes:
        store: its examples; None where it is to be refused.
        tally: what was counted.
        cached: whether they had been made before this process asked for them.
        failure: why it could not be read to its end.
    """

    store: Store | None
    tally: Tally
    cached: bool = False
    failure: DataError | None = None


class _UnusableError(Exception):
    """What was encoded will be refused, and so is not kept."""


class Intake:
    """Takes the sources of a data set.

    Args:
        encoder: encodes their records.
        facts: everything but the files that its examples depend on; None to keep nothing.
        skips: whether bad records are left out, and not refused.
        note: told once of what was done otherwise than asked for.
        progress: called with how many more records are done.
    """

    def __init__(
        self,
        encoder: Encoder,
        facts: Mapping[str, Any] | None,
        *,
        skips: bool,
        note: Callable[[str], None],
        progress: Callable[[int], None],
    ) -> None:
        refuse_unguarded()
        self._encoder = encoder
        self._facts = facts
        self._skips = skips
        self._note = note
        self._progress = progress
        self._own: set[str] = set()  # keys of what this process made itself

    def take(self, source: Source, number: int) -> Taken:
        """A source's examples.

        Args:
            source: the source.
            number: its index among all of them.

        Raises:
            DataError: one of its files changed while it was read.
            SetupError: the tokenizer cannot be used.
        """
        if self._facts is None or source.files is None or not all(map(_is_file, source.files)):
            return self._apart(source, number)
        try:
            before = _state(source.files)
            key = token_cache.key_of(self._facts, source.files)
            if kept := self._kept(key, source, number):
                return kept
            with token_cache.alone(key) as waited:
                if waited and (kept := self._kept(key, source, number)):
                    return Taken(kept.store, kept.tally)
                return self._made(key, source, number, before)
        except OSError as error:
            self._note(f"tokens cannot be kept in the cache: {error.strerror or error}")
            return self._apart(source, number)

    def _kept(self, key: str, source: Source, number: int) -> Taken | None:
        try:
            entry = token_cache.read(key, source.names)
        except ValueError as error:
            self._note(f"a damaged entry of the cache was dropped: {error}")
            token_cache.drop(key)
            return None
        if entry is None:
            return None
        self._progress(entry.tally.records)
        store = Store(entry.rows, source.names, number)
        return Taken(store, entry.tally, cached=key not in self._own)

    def _made(self, key: str, source: Source, number: int, before: object) -> Taken:
        tally = Tally()
        failure: DataError | None = None
        folder = token_cache.folder_of(key)
        try:
            with whole_folder(folder) as aside:
                failure, _ = self._write(source, aside / token_cache.ROWS, tally)
                if before != _state(source.files or ()):
                    what, fix = "changed while it was read", "start again when it is complete"
                    raise DataError(what, where=source.name, fix=fix)
                self._refuse_unusable(failure, tally)
                token_cache.write_header(aside, tally, source.names)
        except _UnusableError:
            return Taken(None, tally, failure=failure)
        self._own.add(key)
        with suppress(OSError):
            token_cache.remove_unused()
        return Taken(Store(folder / token_cache.ROWS, source.names, number), tally)

    def _refuse_unusable(self, failure: DataError | None, tally: Tally) -> None:
        if failure or tally.lengths.refused or (tally.faults.total and not self._skips):
            raise _UnusableError

    def _apart(self, source: Source, number: int) -> Taken:
        """Examples in a folder that goes when they are no longer used."""
        folder = tempfile.TemporaryDirectory(prefix="anima-tokens-", ignore_cleanup_errors=True)
        path = Path(folder.name) / token_cache.ROWS
        tally = Tally()
        failure, names = self._write(source, path, tally)
        return Taken(Store(path, names, number, keep=folder), tally, failure=failure)

    def _write(
        self, source: Source, path: Path, tally: Tally
    ) -> tuple[DataError | None, Sequence[str]]:
        """Encode all of a source; why that ended too early, and the names that rows point to."""
        with Writer(path, source.names) as writer:
            try:
                for packed, counted in encode_all(source.read(), self._encoder, self._note):
                    writer.write(packed)
                    tally.merge(counted)
                    self._progress(counted.records)
            except DataError as error:  # a bad record is no such thing: it is counted
                return error, writer.files
        return None, writer.files


def _is_file(name: str) -> bool:
    return home_expanded(name).is_file()


def _state(files: Sequence[str]) -> list[tuple[int, int]]:
    """What tells whether a file was written to since."""
    stats = [home_expanded(file).stat() for file in files]
    return [(stat.st_size, stat.st_mtime_ns) for stat in stats]
