"""One environment in which every third party's distribution is installed, beside the bundled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from overlay import Overlay, make_overlay
from warm import Warm

from .distributions import EVERYONE, PATIENT, RAISES

SEVERAL = """
import contextlib, io, json, sys
from anima_core.cli.main import main

said = {}
for label, words in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            code = main(words)
    said[label] = code, out.getvalue(), err.getvalue()
json.dump(said, sys.stdout)
"""


@dataclass(frozen=True)
class Said:
    """What came of a command.

    Attributes:
        code: its exit code.
        out, err: what it wrote, each as one line.
    """

    code: int
    out: str
    err: str

    @classmethod
    def of(cls, code: int, out: str, err: str) -> Said:
        """The same, refused where a traceback was shown."""
        assert "Traceback" not in out + err
        return cls(code, " ".join(out.split()), " ".join(err.split()))


@dataclass(frozen=True)
class Crowd:
    """The environment, and a model and data to run on.

    Attributes:
        overlay: where everybody is installed.
        model, data, pairs: as `anima train` takes them.
    """

    overlay: Overlay
    model: Path
    data: Path
    pairs: Path

    def anima(
        self,
        *words: object,
        code: int | None = 0,
        environment: Mapping[str, str] | None = None,
        cold: bool = False,
    ) -> tuple[str, str]:
        """Standard output and error of a command, each as one line, without a traceback."""
        done = self.overlay.run(
            "python", "-m", "anima_core", *map(str, words), code=code, cold=cold,
            environment={"COLUMNS": "250", **(environment or {})},
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr
        return " ".join(done.stdout.split()), " ".join(done.stderr.split())

    def json(
        self, *words: object, code: int = 0, environment: Mapping[str, str] | None = None
    ) -> Any:
        """What a command says with ``--json``; nothing else may stand on standard output."""
        return json.loads(self.anima(*words, "--json", code=code, environment=environment)[0])

    def several(self, lines: Mapping[str, Sequence[object]]) -> dict[str, Said]:
        """What came of several commands, one after another in one process."""
        words = json.dumps({label: [*map(str, line)] for label, line in lines.items()})
        script = self.overlay.folder / "several.py"
        script.write_text(SEVERAL, encoding="utf-8")
        done = self.overlay.run("python", script, words, environment={"COLUMNS": "250"})
        return {label: Said.of(*said) for label, said in json.loads(done.stdout).items()}

    def plans(self, lines: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Who answers which hook under each of several lines."""
        given = ("plan", self.model, self.data, "--dtype", "float32", "--json")
        said = self.several({label: [*given, *line.split()] for label, line in lines.items()})
        assert {each.code for each in said.values()} == {0}, said
        return {
            label: {line["hook"]: line for line in json.loads(each.out)["slots"]}
            for label, each in said.items()
        }

    def training(self, output: Path, *words: object) -> list[object]:
        """The line that trains two steps."""
        given = ("--steps", 2, "--batch-size", 4, "--dtype", "float32", "-o", output)
        return ["train", self.model, self.data, *given, *words]

    def run(self, output: Path, *words: object, code: int = 0, cold: bool = False) -> str:
        """Two steps of training; what was said."""
        return self.anima(*self.training(output, *words), code=code, cold=cold)[1]


@pytest.fixture(scope="session")
def crowd(
    tmp_path_factory: pytest.TempPathFactory,
    warm: Warm,
    tiny_dir: Path,
    sft_file: Path,
    pairs_file: Path,
) -> Crowd:
    """Everybody installed side by side: some built from source, the others as if they had been."""
    sources = tmp_path_factory.mktemp("sources")
    overlay = make_overlay(tmp_path_factory.mktemp("crowd") / "env", warm, plugins=True)
    built = (PATIENT, RAISES)
    overlay.install(*(party.write(sources) for party in built))
    for party in set(EVERYONE) - set(built):
        party.put(overlay.site)
    return Crowd(overlay, tiny_dir, sft_file, pairs_file)
