"""How a fork of the warm process becomes an interpreter that was started for a command line."""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import site
import sys
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODULES = frozenset(
    {"anima_core", "anima_core.registry.probe", "anima_core.testing.process", "pytest"}
)
"""What `python -m` may run warm. Whatever is run by `python -c` looks at the interpreter itself."""

READ_EARLY = (
    "CUDA_",
    "HF_",
    "LD_",
    "MKL_",
    "OMP_",
    "PYTHON",
    "TORCH_",
    "TRANSFORMERS_",
    "TOKENIZERS_",
)
"""How variables begin that an interpreter or a library reads as it starts."""


@dataclass(frozen=True)
class CommandLine:
    """What is to be run.

    Attributes:
        shim, python: the program that asked, and the interpreter that it stands for.
        cwd, environment: as it has them.
        isolated: whether nothing is put in front of the path (``-P``).
        quiet: filters for warnings (``-W``).
        module: what is run, and whether it is a module (``-m``) or else a file.
        words: what follows.
    """

    shim: str
    python: str
    cwd: str
    environment: Mapping[str, str]
    isolated: bool
    quiet: tuple[str, ...]
    target: str
    module: bool
    words: tuple[str, ...]


@dataclass(frozen=True)
class Start:
    """The interpreter as it was before anything was imported.

    Attributes:
        path, finders, hooks: `sys.path`, `sys.meta_path` and `sys.path_hooks`.
        prefixes: `site.PREFIXES`.
        environment: the variables that were read.
    """

    path: tuple[str, ...]
    finders: tuple[Any, ...]
    hooks: tuple[Any, ...]
    prefixes: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @classmethod
    def here(cls) -> Start:
        """That of this process, which was started with ``-S`` and sees its packages from now on."""
        path = tuple(entry for entry in sys.path if entry != str(Path(__file__).parent))
        start = cls(path, tuple(sys.meta_path), tuple(sys.path_hooks), tuple(site.PREFIXES))
        site.main()
        return start

    def read(self, request: Mapping[str, Any]) -> CommandLine | None:
        """What is asked for; None where only an interpreter of its own will do."""
        words, isolated, quiet = list(request["words"]), False, []
        while words and words[0] in ("-P", "-W"):
            if words.pop(0) == "-P":
                isolated = True
            else:
                quiet.append(words.pop(0))
        module = words[:1] == ["-m"]
        if module:
            words.pop(0)
        if not words or (words[0] not in MODULES if module else words[0].startswith("-")):
            return None
        mine, asked = (_read_early(e) for e in (self.environment, request["environment"]))
        if mine != {**mine, **asked}:
            return None
        target, *rest = words
        what = {"isolated": isolated, "quiet": tuple(quiet), "target": target, "module": module}
        return CommandLine(**{**request, **what, "words": tuple(rest)})


def _read_early(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_EARLY) and name != "PYTHONPATH"
    }


def run(start: Start, line: CommandLine) -> None:
    """Become the interpreter, run what it is for, and end the process."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        _become(start, line)
        if line.module:
            runpy.run_module(line.target, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(line.target, run_name="__main__")
        code = 0
    except SystemExit as end:
        code = _code(end.code)
    except BaseException:  # noqa: BLE001 - as an interpreter does
        sys.excepthook(*sys.exc_info())
    _end(code)


def _become(start: Start, line: CommandLine) -> None:
    """The environment, the path, and the packages of the interpreter that is stood for."""
    os.chdir(line.cwd)
    os.environ.clear()
    os.environ.update(line.environment)
    asked = [entry for entry in line.environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = [*asked, *start.path]
    sys.meta_path[:] = start.finders
    sys.path_hooks[:] = start.hooks
    sys.modules.pop("sysconfig", None)  # it keeps the prefix
    sys.executable = line.python
    folder = Path(line.python).parent.parent
    if (folder / "pyvenv.cfg").exists():
        sys.prefix = sys.exec_prefix = str(folder)
    site.PREFIXES[:] = start.prefixes
    site.main()
    sys.executable = line.shim  # so that what it starts is warm too
    sys.path_importer_cache.clear()
    if not line.isolated:
        sys.path.insert(0, line.cwd if line.module else str(Path(line.target).resolve().parent))
    sys.argv[:] = [line.target, *line.words]
    sys.warnoptions[:] = line.quiet
    for action in line.quiet:
        warnings.simplefilter(action)  # type: ignore[arg-type]


def _code(said: object) -> int:
    """The exit code of a `SystemExit`."""
    if said is None or isinstance(said, int):
        return said or 0
    sys.stderr.write(f"{said}\n")
    return 1


def _end(code: int) -> None:
    """End as an interpreter does, but for the taking apart of every module."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(code & 0xFF)
