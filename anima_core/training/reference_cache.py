"""Reference log-probs on disk: the whole of them, and the parts of a pass that is not over.

An entry is a folder ``reference/<key>`` of the cache: the log-probs, and a header with all that
they depend on and their hash. While they are computed, ``reference/<key>.parts`` holds a file for
every stretch of the pass. Everything is written aside and renamed, so it is there whole or not at
all; what is damaged, or was made of something else, is never used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anima_core.cache import cache_root, sync_path, whole_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 2
"""Of what is written; another one is never read."""

UNUSED_DAYS = 30
"""An entry, or parts, that nobody asked for in so many days is removed when another is written."""

FILE = "logps.safetensors"
HEADER = "entry.json"


class ReferenceEntry:
    """What the cache has, or will have, under some facts.

    Args:
        facts: everything that the log-probs depend on, as JSON values.
        starts: where each example's log-probs begin among those of all, and where the last ones
            end: ``[E + 1]``.
        told: what is kept beside them for people, as JSON values.
    """

    def __init__(
        self,
        facts: Mapping[str, Any],
        starts: NDArray[np.int64],
        told: Mapping[str, Any] | None = None,
    ) -> None:
        self.told = json.loads(json.dumps(told or {}))
        self.facts = json.loads(json.dumps({"cache": VERSION, **facts}))
        text = json.dumps(self.facts, sort_keys=True)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.folder = cache_root() / "reference" / self.key[:32]
        self.parts = self.folder.with_name(f"{self.folder.name}.parts")
        self._starts = starts

    def read(self) -> torch.Tensor | None:
        """The log-probs of all examples, ``[T]`` float32; None where there are none.

        Raises:
            ValueError: there is an entry, but it is damaged or was made of something else.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            header = json.loads((self.folder / HEADER).read_text("utf-8"))
            data = (self.folder / FILE).read_bytes()
            if header["facts"] != self.facts:
                raise ValueError("it was made of something else")
            if header["sha256"] != hashlib.sha256(data).hexdigest():
                raise ValueError("its hash is another")
            logps = load(data)["logps"]
        except (FileNotFoundError, NotADirectoryError):
            if self.folder.exists():
                raise ValueError("a file is missing") from None
            return None
        except (KeyError, TypeError, OSError, SafetensorError) as error:
            raise ValueError(str(error)) from None
        if logps.dtype != torch.float32 or logps.shape != (int(self._starts[-1]),):
            raise ValueError(f"it holds {tuple(logps.shape)} values of {logps.dtype}")
        with suppress(OSError):  # a cache that others filled may be read-only
            os.utime(self.folder / HEADER)
        return logps

    def write(self, logps: torch.Tensor) -> None:
        """Keep the whole, in the place of an entry that cannot be used, and remove the parts."""
        from safetensors.torch import save

        data = save({"logps": logps.contiguous()})
        digest = hashlib.sha256(data).hexdigest()
        header = {"facts": self.facts, "told": self.told, "sha256": digest}
        with whole_folder(self.folder) as aside:
            (aside / FILE).write_bytes(data)
            (aside / HEADER).write_text(json.dumps(header, indent=2), encoding="utf-8")
        self.drop_parts()
        _remove_unused(self.folder.parent)

    def drop(self) -> None:
        """Remove an entry that cannot be used."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def drop_parts(self) -> None:
        """Remove what is there of a pass."""
        shutil.rmtree(self.parts, ignore_errors=True)

    def write_part(self, values: Mapping[int, torch.Tensor]) -> None:
        """Keep the log-probs of some examples, each ``[its targets]`` float32, by row."""
        from safetensors.torch import save

        rows = torch.tensor(list(values), dtype=torch.int64)
        logps = torch.cat(list(values.values()))
        told = {"key": self.key, "sha256": _digest(rows, logps)}
        self.parts.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        aside = self.parts / f".{name}"
        try:
            aside.write_bytes(save({"rows": rows, "logps": logps}, told))
            sync_path(aside)
            aside.rename(self.parts / f"{name}.safetensors")
        finally:
            aside.unlink(missing_ok=True)

    def read_parts(self) -> tuple[dict[int, torch.Tensor], int]:
        """What a pass that was broken off has left.

        Returns:
            Log-probs by row, and how many parts were removed because they cannot be used.
        """
        found: dict[int, torch.Tensor] = {}
        damaged = 0
        for file in sorted(self.parts.glob("*.safetensors")):
            try:
                found |= dict(self._part(file))
            except FileNotFoundError:  # another run is done with them
                continue
            except ValueError:
                file.unlink(missing_ok=True)
                damaged += 1
        return found, damaged

    def _part(self, file: Path) -> Iterator[tuple[int, torch.Tensor]]:
        """One part's rows.

        Raises:
            ValueError: it is damaged, or was made of something else.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, "pt") as opened:
                told = opened.metadata() or {}
                rows, logps = opened.get_tensor("rows"), opened.get_tensor("logps")
        except FileNotFoundError:
            raise
        except (OSError, SafetensorError) as error:
            raise ValueError(str(error)) from None
        if told.get("key") != self.key or told.get("sha256") != _digest(rows, logps):
            raise ValueError("it is another's, or its hash is")
        sizes = np.diff(self._starts)[rows.numpy()].tolist()
        return zip(rows.tolist(), logps.split(sizes), strict=True)


class PartWriter:
    """Keeps what a pass has computed, every so often and when it is broken off.

    Args:
        entry: where to; None keeps nothing.
        seconds: what may be lost when the process is killed.
    """

    def __init__(self, entry: ReferenceEntry | None, seconds: float) -> None:
        self._entry = entry
        self._seconds = seconds
        self._waiting: dict[int, torch.Tensor] = {}
        self._since = time.monotonic()

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._write()

    def add(self, values: Mapping[int, torch.Tensor]) -> None:
        """Log-probs of a whole micro-batch, by row."""
        self._waiting |= values
        if time.monotonic() - self._since >= self._seconds:
            self._write()

    def _write(self) -> None:
        if self._entry is not None and self._waiting:
            with suppress(OSError):  # a full disk costs a resume, and not the pass
                self._entry.write_part(self._waiting)
        self._waiting = {}
        self._since = time.monotonic()


def _digest(rows: torch.Tensor, logps: torch.Tensor) -> str:
    return hashlib.sha256(rows.numpy().tobytes() + logps.numpy().tobytes()).hexdigest()


def _remove_unused(root: Path) -> None:
    """Remove entries, and parts of passes that were given up, that nobody used for long."""
    oldest = time.time() - UNUSED_DAYS * 86400
    for folder in root.iterdir():
        marks = [folder / HEADER, folder]
        used = max((mark.stat().st_mtime for mark in marks if mark.exists()), default=oldest)
        if used < oldest:
            shutil.rmtree(folder, ignore_errors=True)
