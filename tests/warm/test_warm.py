"""A command line that is run warm sees, says and does what it would in a new interpreter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from overlay import Overlay

from . import Warm

LOOK = """
import json, os, site, sys, sysconfig
from importlib.metadata import entry_points
json.dump({
    "argv": sys.argv, "path": sys.path, "prefix": sys.prefix, "cwd": os.getcwd(),
    "options": sys.warnoptions, "purelib": sysconfig.get_path("purelib"),
    # but for what a shell sets
    "environment": {k: os.environ[k] for k in {*os.environ} - {"PWD", "OLDPWD", "SHLVL", "_"}},
    "site": site.getsitepackages(), "main": sys.modules["__main__"].__dict__["__name__"],
    "offered": sorted(e.name for e in entry_points(group="anima.strategies")),
    "ours": sorted(n for n in sys.modules if n.startswith("anima")),
}, sys.stdout)
"""


def look(python: Path, *words: str | Path, cwd: Path, path: str = "") -> dict[str, object]:
    """What a script sees."""
    environment = {**os.environ, "COLUMNS": "77", "PYTHONPATH": path}
    done = subprocess.run(
        [python, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=True
    )
    seen: dict[str, object] = json.loads(done.stdout)
    return seen


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "look.py"
    path.write_text(LOOK, encoding="utf-8")
    return path


@pytest.fixture
def forks(warm: Warm) -> None:
    if warm.address is None:
        pytest.skip("every command line is run cold here")


@pytest.mark.usefixtures("forks")
@pytest.mark.parametrize("plugins", [True, False])
def test_an_environment_is_seen_as_it_is(
    new_overlay: Callable[[bool], Overlay], script: Path, tmp_path: Path, plugins: bool
) -> None:
    overlay = new_overlay(plugins)
    words = ("-W", "ignore", script, "--word")
    cold = look(overlay.python, *words, cwd=tmp_path, path="/nowhere")
    assert look(overlay.warm, *words, cwd=tmp_path, path="/nowhere") == cold
    assert ("dpo" in str(cold["offered"])) is plugins


@pytest.mark.usefixtures("forks")
def test_the_running_environment_is_seen_as_it_is(
    warm_python: Path, script: Path, tmp_path: Path
) -> None:
    cold = look(Path(sys.executable), script, cwd=tmp_path)
    assert look(warm_python, script, cwd=tmp_path) == cold


@pytest.mark.usefixtures("forks")
def test_nothing_is_left_to_the_next(warm_python: Path, tmp_path: Path) -> None:
    (tmp_path / "leave.py").write_text(
        "import sys, torch\n"
        "assert torch.nn.functional.gelu is not None\n"
        "assert 'anima_core' not in sys.modules\n"
        "import anima_core\n"
        "torch.nn.functional.gelu = None\n"
        "print(torch.rand(1).item())\n",
        encoding="utf-8",
    )
    command = [warm_python, tmp_path / "leave.py"]
    said = {subprocess.check_output(command, text=True) for _ in range(2)}
    assert len(said) == 1


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("import os; os._exit(9)", 9, ""),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM, ""),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("import atexit, sys; atexit.register(sys.stderr.write, 'bye')", 0, "bye"),
    ],
)
def test_it_ends_as_its_command_line_does(
    warm_python: Path, tmp_path: Path, code: str, exit_code: int, said: str
) -> None:
    (tmp_path / "end.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [warm_python, tmp_path / "end.py"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert done.stderr.endswith(said)
    assert said or not done.stderr


def test_it_is_ended_with_whatever_asked_for_it(warm_python: Path, tmp_path: Path) -> None:
    (tmp_path / "wait.py").write_text(
        "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n", encoding="utf-8"
    )
    process = subprocess.Popen([warm_python, tmp_path / "wait.py"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    assert process.stdout.read() == b""  # until the last process that could write has ended
    for _ in range(500):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.02)
    pytest.fail("it goes on")


@pytest.mark.usefixtures("forks")
@pytest.mark.parametrize(
    ("words", "variables", "forked"),
    [
        (["FILE"], {}, True),
        (["-c", "import sys; print('torch' in sys.modules)"], {}, False),
        (["-I", "FILE"], {}, False),
        (["FILE"], {"HF_HUB_OFFLINE": "0"}, False),
    ],
)
def test_what_looks_at_the_interpreter_itself_is_run_cold(
    warm_python: Path, tmp_path: Path, words: list[str], variables: dict[str, str], forked: bool
) -> None:
    file = tmp_path / "file.py"
    file.write_text("import sys; print('torch' in sys.modules)", encoding="utf-8")
    done = subprocess.run(
        [warm_python, *(str(file) if word == "FILE" else word for word in words)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{forked}\n"
