"""Small third-party strategies that write down what they are called with, and runs of them."""

from __future__ import annotations

import sys
import textwrap
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import anima_core
from anima_core.generation import generate
from anima_core.runs.prepare import prepare
from anima_core.runs.prepared import Prepared
from anima_core.runs.reporter import SilentReporter
from anima_core.runs.request import RunRequest

HEAD = """
import anima_core
from anima_core import hookimpl
from seen_by_hooks import tell

class Mine:
    api = anima_core.HOOK_API
    summary = "A strategy that writes down what it is called with."
    slots = SLOTS
    requires = ()
    conflicts = ()
    Options = anima_core.NoOptions

    def __init__(self, options):
        self.options = options

"""


@dataclass
class Seen:
    """What hooks were called with, in order."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def tell(self, what: str, **facts: Any) -> None:
        """Called by a strategy."""
        self.calls.append((what, facts))

    def names(self) -> list[str]:
        """What was called, in order."""
        return [what for what, _ in self.calls]

    def of(self, what: str) -> list[dict[str, Any]]:
        """What every call of that name was given."""
        return [facts for name, facts in self.calls if name == what]

    def one(self, what: str) -> dict[str, Any]:
        """What the only call of that name was given."""
        (facts,) = self.of(what)
        return facts


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What the test's strategies told."""
    made = Seen()
    module = types.ModuleType("seen_by_hooks")
    module.tell = made.tell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seen_by_hooks", module)
    return made


@pytest.fixture
def strategy(distribute: Callable[..., Path], seen: Seen) -> Callable[..., None]:
    """Install a strategy: its name, the slots it answers, and its methods' source.

    It tells what it is called with unless it is one to be called in another process.
    """

    def strategy(name: str, slots: tuple[str, ...], methods: str, *, tells: bool = True) -> None:
        body = textwrap.indent(textwrap.dedent(methods), "    ")
        source = HEAD.replace("SLOTS", repr(slots)) + body
        if not tells:
            source = source.replace("from seen_by_hooks import tell\n", "")
        distribute(f"third-{name}", source, {name: "Mine"}, version="1.2")

    return strategy


@dataclass(frozen=True)
class Runs:
    """Plans, trains and answers on a tiny model.

    Attributes:
        model, data, output: as `anima train` takes them.
    """

    model: Path
    data: Path
    output: Path

    def plan(self, *names: str, **options: Any) -> Prepared:
        """A plan with strategies of these names."""
        core = {"model": str(self.model), "data": (str(self.data),), "dtype": "float32"}
        request = RunRequest({**core, **options}, {name: {} for name in names})
        return prepare(request, reporter=SilentReporter())

    def train(self, *names: str, steps: int = 2, **options: Any) -> Path:
        """Train with strategies of these names; the run directory."""
        options = {"batch_size": 4, "dtype": "float32", "data": self.data, **options}
        data = options.pop("data")
        anima_core.adapt(
            self.model, data, output=self.output, strategies={name: {} for name in names},
            steps=steps, **options,
        )  # fmt: skip
        return self.output

    def answer(self) -> str:
        """An answer of the run."""
        return generate(str(self.output), "Say 1", max_new_tokens=2, dtype="float32")


@pytest.fixture
def runs(tiny_dir: Path, sft_file: Path, tmp_path: Path) -> Runs:
    """On the tiny model."""
    return Runs(tiny_dir, sft_file, tmp_path / "run")
