"""The two sides of a comparison: the command that each runs, and how its result is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.data import Kind
from harness.environments import HERE
from harness.process import Finished, run

LORA = {"r": 16, "alpha": 32, "dropout": 0.0}


@dataclass(frozen=True)
class Job:
    """What both sides do.

    Attributes:
        kind: sft or dpo.
        model: folder with safetensors.
        data: json file, as many examples as the steps consume.
        steps: optimizer steps in all, the warm-up step included.
        batch_size: examples (pairs) a step.
        max_length: tokens.
        learning_rate: constant.
        seed: of order and initialisation.
        beta: of DPO.
    """

    kind: Kind
    model: Path
    data: Path
    steps: int
    batch_size: int
    max_length: int
    learning_rate: float
    seed: int = 42
    beta: float = 0.1


@dataclass(frozen=True)
class Step:
    """One optimizer step.

    Attributes:
        seconds: in all.
        tokens: without padding.
        loss: its loss.
        reference_seconds: how many of the seconds a reference took that is asked in the step.
    """

    seconds: float
    tokens: int
    loss: float
    reference_seconds: float = 0.0


@dataclass(frozen=True)
class Measured:
    """One process's result.

    Attributes:
        steps: all optimizer steps.
        batch_size: examples a step.
        whole_seconds: of the process.
        peak_bytes: its peak resident memory.
        reference_seconds: of the reference pass before the first step, over the examples of all
            steps; 0 where there is none.
        extra: what else the side reports.
    """

    steps: tuple[Step, ...]
    batch_size: int
    whole_seconds: float
    peak_bytes: int
    reference_seconds: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def timed(self) -> tuple[Step, ...]:
        """The steps after the warm-up step."""
        return self.steps[1:] or self.steps

    @property
    def tokens_per_second(self) -> float:
        """Non-padding tokens a second over the timed steps."""
        return sum(s.tokens for s in self.timed) / sum(s.seconds for s in self.timed)

    @property
    def examples_per_second(self) -> float:
        """Examples (pairs) a second over the timed steps, without what a reference took."""
        seconds = sum(s.seconds - s.reference_seconds for s in self.timed)
        return self.batch_size * len(self.timed) / seconds

    @property
    def examples_per_second_with_reference(self) -> float:
        """The same with it: what it took in the timed steps, or their share of the pass before."""
        before = self.reference_seconds * len(self.timed) / len(self.steps)
        seconds = before + sum(s.seconds for s in self.timed)
        return self.batch_size * len(self.timed) / seconds

    def to_json(self) -> dict[str, Any]:
        """Everything, for the result file."""
        rates = {
            "tokens_per_second": self.tokens_per_second,
            "examples_per_second": self.examples_per_second,
            "examples_per_second_with_reference": self.examples_per_second_with_reference,
            "tokens_per_second_with_warm_up": sum(s.tokens for s in self.steps)
            / sum(s.seconds for s in self.steps),
        }
        return {**rates, **asdict(self)}


class Side(Protocol):
    """One contestant."""

    @property
    def name(self) -> str:
        """Its name in the table."""
        ...

    def command(self, job: Job, folder: Path) -> list[str]:
        """The command line that does the job and leaves its result in a folder."""
        ...

    def environment(self, folder: Path) -> dict[str, str]:
        """Environment variables of the process."""
        ...

    def read(self, job: Job, folder: Path, finished: Finished) -> Measured:
        """What it left."""
        ...


@dataclass(frozen=True)
class Anima:
    """``anima train`` of one environment, with extra arguments."""

    python: Path
    arguments: Sequence[str]
    name: str = "Anima"

    def command(self, job: Job, folder: Path) -> list[str]:
        """The line that a user would type."""
        line = [str(self.python.parent / "anima"), "train", str(job.model), str(job.data)]
        line += ["--lora", "--xentropy"]
        for name, setting in LORA.items():
            line += [f"--lora.{name}", str(setting)]
        if job.kind == "dpo":
            line += ["--dpo", "--dpo.beta", str(job.beta)]
        options: dict[str, object] = {
            "steps": job.steps,
            "batch-size": job.batch_size,
            "max-length": job.max_length,
            "overlong": "truncate",
            "learning-rate": job.learning_rate,
            "schedule": "constant",
            "warmup": 0,
            "seed": job.seed,
            "device": "cpu",
            "output": folder / "run",
        }
        for name, value in options.items():
            line += [f"--{name}", str(value)]
        return [*line, *self.arguments]

    def environment(self, folder: Path) -> dict[str, str]:
        """A cache of its own, so that every run computes its reference log-probs anew."""
        return {"ANIMA_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}

    def read(self, job: Job, folder: Path, finished: Finished) -> Measured:
        """Its metrics.jsonl."""
        lines = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        records = [record for line in lines if "loss" in (record := json.loads(line))]
        steps = tuple(Step(r["seconds"], r["tokens"], r["loss"]) for r in records)
        manifest = json.loads((folder / "run" / "manifest.json").read_text(encoding="utf-8"))
        return Measured(
            steps,
            job.batch_size,
            finished.seconds,
            finished.peak_bytes,
            manifest.get("reference_seconds", {}).get("training", 0.0),
            {"trainable": _parameters(folder / "run" / "adapter")},
        )


@dataclass(frozen=True)
class Trl:
    """TRL as it comes (``default``) or ``tuned`` by hand."""

    python: Path
    config: str
    dtype: str
    micro_batch: int

    @property
    def name(self) -> str:
        """Its name in the table."""
        return "TRL as it comes" if self.config == "default" else "TRL tuned by hand"

    def command(self, job: Job, folder: Path) -> list[str]:
        """The peer's script."""
        line = [str(self.python), str(HERE / "peers" / f"trl_{job.kind}.py")]
        options: dict[str, object] = {
            "model": job.model,
            "data": job.data,
            "result": folder / "result.json",
            "work": folder / "work",
            "config": self.config,
            "dtype": self.dtype,
            "steps": job.steps,
            "batch-size": job.batch_size,
            "micro-batch": min(self.micro_batch, job.batch_size),
            "max-length": job.max_length,
            "learning-rate": job.learning_rate,
            "seed": job.seed,
        }
        if job.kind == "dpo":
            options["beta"] = job.beta
        for name, value in options.items():
            line += [f"--{name}", str(value)]
        return line

    def environment(self, folder: Path) -> dict[str, str]:
        """A cache of its own: TRL, too, keeps reference log-probs."""
        return {"HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

    def read(self, job: Job, folder: Path, finished: Finished) -> Measured:
        """What the peer's script wrote."""
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        steps = tuple(
            Step(s["seconds"], s["tokens"], s["loss"], s["reference_seconds"])
            for s in result.pop("steps")
        )
        before = result.pop("reference_seconds", 0.0)
        return Measured(
            steps, job.batch_size, finished.seconds, finished.peak_bytes, before, result
        )


def measure(side: Side, job: Job, folder: Path) -> Measured:
    """Run one side once in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    finished = run(side.command(job, folder), folder / "log.txt", side.environment(folder))
    measured = side.read(job, folder, finished)
    if len(measured.steps) != job.steps:
        raise SystemExit(f"{side.name} made {len(measured.steps)} steps of {job.steps}")
    return measured


def _parameters(adapter: Path) -> int:
    """Numbers in the safetensors files of a folder, from their headers."""
    count = 0
    for file in adapter.glob("*.safetensors"):
        with file.open("rb") as handle:
            header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
        for name, entry in header.items():
            if name != "__metadata__":
                size = 1
                for extent in entry["shape"]:
                    size *= extent
                count += size
    return count
