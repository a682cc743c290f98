"""Environments laid over the installed one: real installed distributions, and never a second torch.

A pytest plugin (see ``pytest_plugins`` in ``conftest.py``) with the fixtures `overlay` and
`new_overlay`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from warm import Warm

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = re.compile(r"(_editable_impl_)?anima_(adapt_)?(qlora|dpo|longctx)\b")


@dataclass(frozen=True)
class Overlay:
    """A virtual environment whose packages are links to those of the running one.

    Attributes:
        folder: the environment.
        warm: what its Python command lines are run by (see `warm`).
    """

    folder: Path
    warm: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site(self) -> Path:
        """Where its packages are."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "lib" / version / "site-packages"

    @property
    def environment(self) -> dict[str, str]:
        """Variables under which the environment's commands come first on the path."""
        without = {"PYTHONPATH", "PYTHONHOME", "ANIMA_DISABLE_PLUGINS", "NO_COLOR", "FORCE_COLOR"}
        kept = {name: value for name, value in os.environ.items() if name not in without}
        path = f"{self.folder / 'bin'}{os.pathsep}{kept.get('PATH', '')}"
        return {**kept, "PATH": path, "VIRTUAL_ENV": str(self.folder), "OMP_NUM_THREADS": "1"}

    def install(self, *sources: Path, editable: bool = False) -> None:
        """Install source folders or wheels: no dependency, no isolated build, no index."""
        words = [part for source in sources for part in (["-e"] * editable + [str(source)])]
        command = [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.python,
            "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", *words,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        code: int | None = 0,
        cold: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment.

        Args:
            words: the command line; its first word is looked for in the environment first.
            cwd: where; the environment's folder when None.
            environment: further variables.
            code: the exit code that is expected; any when None.
            cold: whether an interpreter of its own is started for a Python command line.
        """
        python = self.python if cold else self.warm
        programs = {
            "python": (python,),
            "pytest": (python, "-m", "pytest"),
            "anima": (python, self.folder / "bin" / "anima"),
        }
        inside = self.folder / "bin" / words[0]
        first = programs.get(str(words[0]), (inside if inside.exists() else words[0],))
        command = [str(word) for word in (*first, *words[1:])]
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def anima(
        self, *words: str | Path, cwd: Path | None = None, code: int | None = 0, cold: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run `anima`."""
        return self.run("python", "-m", "anima_core", *words, cwd=cwd, code=code, cold=cold)


def make_overlay(folder: Path, warm: Warm, *, plugins: bool) -> Overlay:
    """Make one; with the bundled plugins, or with the core as the only package of ours.

    Ours are installed in it as they are in the running environment.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    made = Overlay(folder, warm.python(folder / "bin" / "python", folder / "bin" / "warm-python"))
    for packages in sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}):
        for entry in sorted(Path(packages).iterdir()):
            link = made.site / entry.name
            wanted = plugins or not PLUGINS.match(entry.name)
            if entry.suffix == ".pth":
                wanted = wanted and "anima_" in entry.name
            if wanted and not link.exists():
                link.symlink_to(entry)
    scripts = Path(sys.executable).parent
    anima = folder / "bin" / "anima"
    anima.write_text(
        f"#!{folder / 'bin' / 'python'}\n"
        "import sys\nfrom anima_core.cli.main import main\n\nsys.exit(main())\n",
        encoding="utf-8",
    )
    anima.chmod(0o755)
    if (scripts / "ruff").exists():  # a program, which `python -m ruff` looks for in bin
        (folder / "bin" / "ruff").symlink_to(scripts / "ruff")
    return made


@pytest.fixture
def overlay(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Overlay:
    """An environment with the core and the bundled plugins, for this test alone."""
    return make_overlay(tmp_path_factory.mktemp("overlay") / "env", warm, plugins=True)


@pytest.fixture(scope="module")
def new_overlay(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Callable[[bool], Overlay]:
    """Make an environment that several tests of a module share; the argument: with plugins?"""

    def make(plugins: bool) -> Overlay:
        return make_overlay(tmp_path_factory.mktemp("overlay") / "env", warm, plugins=plugins)

    return make
