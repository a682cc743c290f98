"""Which files a folder or a pattern means."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from anima_core.data.compressed import COMPRESSIONS, suffixes
from anima_core.errors import DataError

_ABOUT = re.compile(
    r"(readme|licen[cs]e|copying|notice|changelog|citation|contributing)\b.*"
    r"|(dataset_infos?|dataset_dict|state|metadata|config)\.json",
    re.IGNORECASE,
)
_TEXT = frozenset({".txt", ".md"})
_SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test",
    "evaluation": "test", "val": "test", "valid": "test", "validation": "test", "dev": "test",
}  # fmt: skip


@dataclass
class Found:
    """What a folder or a pattern holds.

    Attributes:
        files: the data, sorted.
        hidden: how many files were passed over for a name that begins with a dot or an underscore.
        about: files about the data (a README, a licence, ``dataset_info.json``).
        other: how many files there are of each kind that is not read.
    """

    files: list[str] = field(default_factory=list)
    hidden: int = 0
    about: list[str] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)

    def add(self, path: str, known: Collection[str]) -> None:
        """Sort one file into what it is."""
        name = Path(path).name
        kind, compression = suffixes(name)
        if name.startswith((".", "_")):
            self.hidden += 1
        elif _ABOUT.fullmatch(name):
            self.about.append(path)
        elif kind + compression in known:
            self.files.append(path)
        else:
            self.other[kind + compression or "a name without a suffix"] += 1

    def says(self) -> str:
        """What there is beside data, in words."""
        parts = [f"{count} of {kind}" for kind, count in sorted(self.other.items())]
        parts += [Path(path).name for path in self.about]
        parts += [f"{self.hidden} hidden"] if self.hidden else []
        return ", ".join(parts) or "nothing"


def in_folder(source: str, folder: Path, known: Collection[str]) -> Found:
    """The data files in a folder and the folders in it.

    Args:
        source: the folder as given: files are named as it was.
        folder: where it is.
        known: suffixes of the files that are read.

    Raises:
        DataError: there is no data, or there are files of several splits.
    """
    found = Found()
    for path in sorted(_walk(folder, found)):
        found.add(str(Path(source, path.relative_to(folder))), known)
    if not found.files:
        raise DataError(
            f"is a folder without data; it holds {found.says()}",
            where=source,
            fix=_reads(known),
        )
    _refuse_splits(source, found.files)
    return found


def _walk(folder: Path, found: Found) -> Iterator[Path]:
    seen = set()
    for top, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(top)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        hidden = [name for name in folders if name.startswith((".", "_"))]
        found.hidden += len(hidden)
        folders[:] = sorted(set(folders) - set(hidden))
        yield from (Path(top, name) for name in names)


def _refuse_splits(source: str, files: list[str]) -> None:
    """A folder with the test set beside the training set is not all meant for training."""
    splits: dict[str, str] = {}
    for path in files:
        inside = Path(path).relative_to(source)
        for part in (*inside.parent.parts, inside.name):
            word = re.split(r"[^a-z]", part.lower(), maxsplit=1)[0]
            if word in _SPLITS:
                splits.setdefault(_SPLITS[word], path)
    if len(splits) > 1:
        raise DataError(
            f"holds several splits: {splits['train']} and {splits['test']}",
            where=source,
            fix=f"name what is meant, e.g. {splits['train']}, or a pattern in quotes",
        )


def is_pattern(source: str) -> bool:
    """Whether a name is a pattern of names."""
    return glob.has_magic(source)


def of_pattern(source: str, pattern: Path, known: Collection[str]) -> Found:
    """The data files that a pattern means; of a folder that it means, those inside.

    Args:
        source: the pattern as given.
        pattern: the same, from where it is.
        known: suffixes of the files that are read.

    Raises:
        DataError: nothing matches, or nothing of it is data.
    """
    found = Found()
    matches = sorted(glob.glob(str(pattern), recursive=True))  # noqa: PTH207 - `**` in any place
    paths: dict[str, None] = {}
    for match in matches:
        if os.path.isdir(match):  # noqa: PTH112
            paths |= dict.fromkeys(str(path) for path in sorted(_walk(Path(match), found)))
        else:
            paths[match] = None
    for path in sorted(paths):
        found.add(path, known)
    if not matches:
        raise DataError("no file matches", where=source, fix="check the path; ** means any folders")
    if not found.files:
        raise DataError(f"matches no data, but {found.says()}", where=source, fix=_reads(known))
    return found


def _reads(known: Collection[str]) -> str:
    plain = [
        suffix for suffix in known if suffix not in _TEXT and not suffix.endswith(COMPRESSIONS)
    ]
    return f"data is read from {', '.join(plain)}, .txt and .md, the textual ones also as .gz, .zst"
