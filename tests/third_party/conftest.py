"""One environment in which every third party's distribution is installed, beside the bundled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from overlay import Overlay, make_overlay

from .distributions import EVERYONE

PLANNING = """
import contextlib, io, json, sys
from anima_core.cli.main import main

plans = {}
for label, words in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(words)
    assert code == 0, (label, code)
    plans[label] = json.loads(out.getvalue())
json.dump(plans, sys.stdout)
"""


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
        self, *words: object, code: int | None = 0, environment: Mapping[str, str] | None = None
    ) -> tuple[str, str]:
        """Standard output and error of a command, each as one line, without a traceback."""
        done = self.overlay.run(
            "python", "-m", "anima_core", *map(str, words), code=code,
            environment={"COLUMNS": "250", **(environment or {})},
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr
        return " ".join(done.stdout.split()), " ".join(done.stderr.split())

    def json(
        self, *words: object, code: int = 0, environment: Mapping[str, str] | None = None
    ) -> Any:
        """What a command says with ``--json``; nothing else may stand on standard output."""
        return json.loads(self.anima(*words, "--json", code=code, environment=environment)[0])

    def plans(self, lines: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Who answers which hook under each of several lines, all planned in one process."""
        given = ["plan", str(self.model), str(self.data), "--dtype", "float32", "--json"]
        asked = {label: [*given, *line.split()] for label, line in lines.items()}
        done = self.overlay.run("python", "-c", PLANNING, json.dumps(asked))
        return {
            label: {line["hook"]: line for line in plan["slots"]}
            for label, plan in json.loads(done.stdout).items()
        }

    def run(self, output: Path, *words: object, code: int = 0) -> str:
        """Two steps of training; what was said."""
        given = ("--steps", 2, "--batch-size", 4, "--dtype", "float32", "-o", output)
        return self.anima("train", self.model, self.data, *given, *words, code=code)[1]


@pytest.fixture(scope="session")
def crowd(
    tmp_path_factory: pytest.TempPathFactory, tiny_dir: Path, sft_file: Path, pairs_file: Path
) -> Crowd:
    """Everybody installed side by side, as real distributions built from source."""
    sources = tmp_path_factory.mktemp("sources")
    overlay = make_overlay(tmp_path_factory.mktemp("crowd") / "env", plugins=True)
    overlay.install(*(party.write(sources) for party in EVERYONE))
    return Crowd(overlay, tiny_dir, sft_file, pairs_file)
