"""A third party's distribution to be: written out to be built, or as installed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "{version}"
dependencies = ["anima-adapt"]

[project.entry-points."anima.strategies"]
{points}

[tool.hatch.build.targets.wheel]
packages = ["{package}"]
"""

METADATA = """\
Metadata-Version: 2.4
Name: {name}
Version: {version}
Requires-Dist: anima-adapt
"""

HEAD = """
from pydantic import Field
import anima_core
from anima_core import hookimpl


class Base:
    api = 1
    summary = "A strategy of a third party."
    slots = ()
    requires = ()
    conflicts = ()
    Options = anima_core.NoOptions

    def __init__(self, options):
        self.options = options

"""

SUM = """
class Sum:
    data, scope, needs, uses_reference = "completion", "example", "logps", False

    def denominators(self, batch):
        return {"total": float(len(batch.targets))}

    def __call__(self, batch, logps, reference=None):
        return anima_core.LossOutput({"total": -logps.sum()})

"""


@dataclass(frozen=True, eq=False)
class ThirdParty:
    """A distribution to be.

    Attributes:
        name, version: of the distribution.
        source: of its only module, after `HEAD` when it defines a class ``Mine``.
        strategies: what it offers, by name: the class of each.
    """

    name: str
    version: str
    source: str
    strategies: dict[str, str] = field(default_factory=dict)

    @property
    def package(self) -> str:
        return self.name.replace("-", "_")

    def write(self, into: Path) -> Path:
        """Write its source tree; the folder to install."""
        folder = into / self.name
        self._write_package(folder)
        points = "\n".join(
            f'{word} = "{self.package}.strategy:{cls}"' for word, cls in self.strategies.items()
        )
        text = PYPROJECT.format(
            name=self.name, version=self.version, points=points, package=self.package
        )
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
        return folder

    def put(self, site: Path) -> None:
        """Write its package and its metadata where an installer would have put its wheel."""
        self._write_package(site)
        info = site / f"{self.package}-{self.version}.dist-info"
        info.mkdir()
        metadata = METADATA.format(name=self.name, version=self.version)
        points = "".join(
            f"{word} = {self.package}.strategy:{cls}\n" for word, cls in self.strategies.items()
        )
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[anima.strategies]\n{points}", encoding="utf-8")

    def _write_package(self, folder: Path) -> None:
        (folder / self.package).mkdir(parents=True)
        (folder / self.package / "__init__.py").touch()
        head = HEAD if "(Base)" in self.source else ""
        (folder / self.package / "strategy.py").write_text(head + self.source, encoding="utf-8")


def one(name: str, strategy: str, source: str, version: str) -> ThirdParty:
    """A distribution that offers one strategy, whose class is ``Mine``."""
    return ThirdParty(name, version, source, {strategy: "Mine"})


def loss(body: str, *, head: str = "", top: str = "") -> str:
    """A module whose class answers the slot ``loss``."""
    return (
        f"{top}{SUM}class Mine(Base):\n    slots = ('loss',)\n{head}\n"
        f"    @hookimpl\n    def loss(self, run):\n        {body}\n"
    )


def judging(body: str) -> str:
    """A module whose loss object does this when it is called."""
    usual = 'return anima_core.LossOutput({"total": -logps.sum()})'
    return loss("return Sum()").replace(usual, body, 1)


def stack(hook: str, parameters: str, body: str, *, head: str = "") -> str:
    """A module whose class stands in one stack."""
    return (
        f"class Mine(Base):\n{head}\n    @hookimpl\n    def {hook}({parameters}):\n        {body}\n"
    )
