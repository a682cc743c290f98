"""What every test shares: a tiny model on disk, tiny data, and a cache of their own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
pytest_plugins = ("overlay", "warm.fixtures")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama and its tokenizer as a model folder."""
    from anima_core.testing import save_tiny

    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def sft_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve short prompts with their completions."""
    path = tmp_path_factory.mktemp("data") / "sft.jsonl"
    rows = [{"prompt": f"Say {n}", "completion": "one " * (n % 5 + 1)} for n in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight prompts with a chosen and a rejected answer."""
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    rows = [
        {"prompt": f"Pick {n}", "chosen": "yes " * (n % 3 + 1), "rejected": "no " * (n % 2 + 1)}
        for n in range(8)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def feedback_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight prompts with an answer each, every other one a good one."""
    path = tmp_path_factory.mktemp("data") / "feedback.jsonl"
    rows = [
        {"prompt": f"Pick {n}", "completion": "yes " * (n % 3 + 1), "label": n % 2 == 0}
        for n in range(8)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that no other session shares; the demo model's conversion alone is kept."""
    if "ANIMA_TEST_CACHE" not in os.environ:
        os.environ["ANIMA_TEST_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    monkeypatch.setenv("ANIMA_CACHE", os.environ["ANIMA_TEST_CACHE"])


GOOD_STRATEGY = """
from typing import Literal
from pydantic import Field
import anima_core

class Options(anima_core.Options):
    beta: float = Field(default=0.5, gt=0, description="Strength.")
    bits: Literal[4, 8] = Field(default=4, description="Bits.")
    slow: bool = Field(default=False, description="Be slow.")
    names: tuple[str, ...] = Field(default=(), description="Names.")

class Total:
    data, scope, needs, uses_reference = "completion", "example", "logps", False

    def __init__(self, run, options):
        self.run, self.options = run, options

    def denominators(self, batch):
        return {"total": float(len(batch.targets))}

    def __call__(self, batch, logps, reference=None):
        return anima_core.LossOutput({"total": -logps.sum()})

class Good:
    api = anima_core.HOOK_API
    summary = "A loss made for a test."
    slots = ("loss",)
    requires = ()
    conflicts = ()
    Options = Options

    def __init__(self, options):
        self.options = options

    @anima_core.hookimpl
    def loss(self, run):
        return Total(run, self.options)
"""


@pytest.fixture
def good_strategy() -> str:
    """The source of a module whose class ``Good`` is a fit strategy for the slot ``loss``."""
    return GOOD_STRATEGY


@pytest.fixture
def distribute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Install a distribution for this test alone: real metadata and a real module.

    Call it with the distribution's name, the module's source, and the strategies it offers
    (name to class); it returns the folder that holds both, for a subprocess' ``PYTHONPATH``.
    """
    made: list[str] = []

    def distribute(
        name: str, source: str, strategies: dict[str, str], version: str = "1.0"
    ) -> Path:
        module = f"fake_{len(made)}_{name.replace('-', '_')}"
        folder = tmp_path / f"site-{name}"
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(source, encoding="utf-8")
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
        )
        points = "".join(f"{word} = {module}:{cls}\n" for word, cls in strategies.items())
        (info / "entry_points.txt").write_text(f"[anima.strategies]\n{points}", encoding="utf-8")
        monkeypatch.syspath_prepend(folder)
        made.append(module)
        return folder

    yield distribute
    for module in made:
        sys.modules.pop(module, None)
