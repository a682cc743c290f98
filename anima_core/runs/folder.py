"""The run directory: manifest, configuration, metrics and samples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from anima_core.cache import write_whole
from anima_core.errors import UsageError

State = Literal["running", "done", "interrupted", "diverged", "failed"]


class RunFolder:
    """Writes a run directory.

    Args:
        path: the folder.
        writes: whether anything is written: of a run's processes, the first one's alone does.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self._writes = writes
        self._metrics = path / "metrics.jsonl"
        self._samples = path / "samples.jsonl"
        self.manifest: dict[str, Any] = {}

    def create(self, config: str, manifest: Mapping[str, Any]) -> None:
        """Start a run: everything in the folder is new."""
        self.manifest = {**manifest, "warnings": []}
        if not self._writes:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / "config.yaml", config)
        self._metrics.touch()
        self.mark("running")

    def reopen(self, manifest: Mapping[str, Any], step: int) -> None:
        """Go on with a run: records past `step` are dropped."""
        self.manifest = dict(manifest)
        if not self._writes:
            return
        old = self.read_manifest()
        told = [w for w in old.get("warnings", []) if w["step"] <= step and step > 0]
        kept = {"created": old.get("created", manifest.get("created")), "warnings": told}
        self.manifest = {**manifest, **kept}
        for file in (self._metrics, self._samples):
            if file.is_file():
                keep = [row for row in _rows(file) if row["step"] <= step and step > 0]
                write_whole(file, "".join(json.dumps(row) + "\n" for row in keep))
        self._metrics.touch()
        self.mark("running")

    def mark(self, state: State, **facts: Any) -> None:
        """Write the manifest with a new state and more facts."""
        self.manifest = {**self.manifest, "state": state, **facts}
        if self._writes:
            text = json.dumps(self.manifest, indent=2) + "\n"
            write_whole(self.path / "manifest.json", text)

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """What was warned of while the run went on: each with its ``step`` and its ``text``."""
        told: list[dict[str, Any]] = self.manifest.get("warnings", [])
        return told

    def warn(self, step: int, text: str) -> None:
        """Keep what was warned of after a step."""
        self.mark("running", warnings=[*self.warnings, {"step": step, "text": text}])

    def metrics(self, record: Mapping[str, Any]) -> None:
        """Append a record to ``metrics.jsonl``."""
        if self._writes:
            _append(self._metrics, record)

    def samples(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows to ``samples.jsonl``."""
        for row in rows if self._writes else ():
            _append(self._samples, row)

    def read_manifest(self) -> dict[str, Any]:
        """The manifest as it lies on the disk."""
        manifest: dict[str, Any] = json.loads(
            (self.path / "manifest.json").read_text(encoding="utf-8")
        )
        return manifest

    def read_metrics(self) -> list[dict[str, Any]]:
        """Every record of ``metrics.jsonl`` so far."""
        return _rows(self._metrics)

    def last_loss(self) -> float | None:
        """The loss of the last step in ``metrics.jsonl``."""
        losses = [row["loss"] for row in self.read_metrics() if "loss" in row]
        return float(losses[-1]) if losses else None

    def read_samples(self) -> list[dict[str, Any]]:
        """Every row of ``samples.jsonl`` so far."""
        return _rows(self._samples)


def check_output(path: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse an output folder that would be written over.

    Raises:
        UsageError: it exists, and neither ``--resume`` nor ``--overwrite`` was given; or
            ``--overwrite`` would delete something that is no run directory.
    """
    if resume and overwrite:
        raise UsageError(
            "--resume and --overwrite contradict each other", where="--resume", fix="Give one."
        )
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    is_run = (path / "manifest.json").is_file()
    if resume and is_run:
        return
    if overwrite and is_run:
        return
    if not is_run:
        raise UsageError(
            f"{path} exists and is no run directory",
            where="--output",
            fix="Name another folder; nothing but a run directory is ever replaced or resumed.",
        )
    raise UsageError(
        f"{path} exists already",
        where="--output",
        fix="Add --resume to go on with it, --overwrite to replace it, or name another.",
    )


def check_not_used(output: Path, used: Iterable[Path]) -> None:
    """Refuse to replace what the new run is made from.

    Args:
        output: the folder that ``--overwrite`` would replace.
        used: the model, the starting run and the data.

    Raises:
        UsageError: one of them lies in the folder.
    """
    whole = output.resolve()
    for path in used:
        if path.resolve().is_relative_to(whole):
            raise UsageError(
                f"{path} lies in {output}, which --overwrite would delete before it is read",
                where="--output",
                fix="Name another folder.",
            )


@contextmanager
def replaced(path: Path) -> Iterator[Callable[[], None]]:
    """Set a run directory aside while its successor gets going.

    Yields:
        Called once the successor has something of its own to keep: the old run is deleted. On
        an error before that, the old run is put back as it was, or nothing is left.
    """
    aside = path.with_name(f".{path.name}.replaced")
    if (path / "manifest.json").is_file():
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    settled = False

    def settle() -> None:
        nonlocal settled
        settled = True
        shutil.rmtree(aside, ignore_errors=True)

    try:
        yield settle
    except BaseException:
        if not settled:
            shutil.rmtree(path, ignore_errors=True)
            if aside.exists():
                aside.rename(path)
        raise
    settle()


def _append(file: Path, record: Mapping[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(record, ensure_ascii=False) + "\n")


def _rows(file: Path) -> list[dict[str, Any]]:
    """Rows of a jsonl file; a last line that a killed process left half-written is dropped."""
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
