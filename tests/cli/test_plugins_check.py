"""`anima plugins check`: distributions and source folders, sound and unsound."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from anima_core.cli.main import main

PYPROJECT = """
[project]
name = "Anima_Focal"
version = "0.3.0"

[project.entry-points."anima.strategies"]
focal = "anima_focal.strategy:Focal"
"""

HEAD = """
from pydantic import Field
import anima_core


class FocalOptions(anima_core.Options):
    gamma: float = Field(default=2.0, ge=0, description="How much.")


class Focal:
    api = 1
    summary = "A focal loss."
    slots = ("loss",)
    requires = ()
    conflicts = ()
    Options = FocalOptions

    def __init__(self, options):
        self.options = options

"""

LOSS = """
    @anima_core.hookimpl
    def loss(self):
        from anima_focal.loss import FocalLoss

        return FocalLoss(self.options.gamma)
"""

WORK = """
import anima_core


class FocalLoss:
    data, scope, needs, uses_reference = "completion", "example", "logps", False

    def __init__(self, gamma):
        self.gamma = gamma

    def denominators(self, batch):
        return {"focal": float(batch.weights[batch.target_example].sum())}

    def __call__(self, batch, logps, reference=None):
        weights = batch.weights[batch.target_example].to(logps.dtype)
        terms = -((1 - logps.exp()) ** self.gamma) * logps
        return anima_core.LossOutput({"focal": (weights * terms).sum()})
"""


@pytest.fixture
def project(tmp_path: Path):
    """Writes the source folder of a plugin, which nobody installs."""

    def write(
        strategy: str = HEAD + LOSS, work: str = WORK, pyproject: str = PYPROJECT, at: str = "."
    ) -> Path:
        folder = tmp_path / "focal"
        package = folder / at / "anima_focal"
        package.mkdir(parents=True)
        (folder / "pyproject.toml").write_text(pyproject)
        (package / "__init__.py").touch()
        (package / "strategy.py").write_text(strategy)
        (package / "loss.py").write_text(work)
        return folder

    return write


@pytest.fixture
def check(capsys, warm_children):
    """Checks as a machine would ask: the exit code, and every result by strategy and check."""

    def check(*words: object):
        code = main(["plugins", "check", *map(str, words), "--json"])
        results = json.loads(capsys.readouterr().out)
        return code, {f"{r['strategy']} {r['check']}": r for r in results}

    return check


def states(results):
    return {name: result["state"] for name, result in results.items()}


@pytest.mark.parametrize("at", [".", "src"])
def test_a_source_folder_need_not_be_installed(project, check, at, monkeypatch):
    folder = project(at=at)
    monkeypatch.chdir(folder.parent)
    code, results = check("focal" if at == "." else folder)
    assert code == 0
    assert set(states(results).values()) == {"ok"}
    wanted = ("load", "strategy", "import-budget", "options", "answers", "globals", "loss", "run")
    assert [f"focal {name}" for name in wanted] == list(results)[:8]
    assert "focal run beside qlora" in results
    one = results["focal loss"]
    assert (one["distribution"], one["version"]) == ("anima-focal", "0.3.0")
    assert "anima_focal" not in sys.modules


def test_a_loss_with_a_mistake_fails_that_check_and_names_it(project, check, capsys, monkeypatch):
    folder = project(work=WORK.replace(".sum()}", ".mean()}"))
    code, results = check(folder)
    assert code == 1
    assert states(results)["focal loss"] == "failed"
    assert "split 1 + 1" in results["focal loss"]["reason"]
    assert states(results)["focal run"] == "ok"

    monkeypatch.setenv("COLUMNS", "80")
    assert main(["plugins", "check", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "focal (from anima-focal 0.3.0)"
    assert "  ok      strategy" in lines
    at = lines.index("  failed  loss")
    assert lines[at + 1].startswith("          split 1 + 1")
    assert lines[-1] == f"{len(results) - 1} ok, 1 failed"


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("import nowhere_at_all\n", "nowhere_at_all"),
        ("raise SystemExit(3)\n", "SystemExit"),
        (HEAD.replace('slots = ("loss",)', "slots = ()") + LOSS, "does not declare it"),
        ((HEAD + LOSS).replace("api = 1", "api = 99"), "hook API 99"),
        ("Focal = 7\n", "not a class"),
    ],
)
def test_what_does_not_load_is_a_failure_and_no_traceback(project, check, strategy, said):
    code, results = check(project(strategy=strategy))
    assert code == 1
    assert states(results) == {"focal load": "failed"}
    assert said in results["focal load"]["reason"]
    assert "Traceback" not in results["focal load"]["reason"]


def test_a_heavy_import_and_a_crash_are_failures(project, check):
    work = "import os\n\ndef FocalLoss(gamma):\n    os._exit(9)\n"
    code, results = check(project(strategy="import torch\n" + HEAD + LOSS, work=work))
    assert code == 1
    assert "imports torch" in results["focal import-budget"]["reason"]
    assert "strategy.py:1" in results["focal import-budget"]["reason"]
    assert "exit status 9" in results["focal answers"]["reason"]
    assert list(results)[-1] == "focal answers"


def test_an_exception_of_the_plugin_says_where(project, check):
    code, results = check(project(work=WORK.replace("self.gamma = gamma", "self.gamma = gama")))
    assert code == 1
    reason = results["focal loss"]["reason"]
    assert reason.startswith("NameError: name 'gama' is not defined (")
    assert "loss.py:9" in reason


def test_without_defaults_it_is_said_what_was_skipped(project, check):
    strategy = (HEAD + LOSS).replace("default=2.0, ", "")
    code, results = check(project(strategy=strategy))
    assert code == 0
    found = states(results)
    assert [name for name, state in found.items() if state == "ok"] == [
        "focal load", "focal strategy", "focal import-budget", "focal options"
    ]  # fmt: skip
    assert found["focal loss"] == "skipped"
    assert "`gamma` must be given" in results["focal loss"]["reason"]


def test_what_a_plugin_prints_does_not_disturb(project, check):
    code, results = check(project(strategy="print('hello')\n" + HEAD + LOSS))
    assert code == 0
    assert states(results)["focal run"] == "ok"


def test_an_installed_distribution_in_any_spelling(distribute, check):
    distribute(
        "fake-a", HEAD + LOSS.replace("from anima_focal.loss", "from fake_work"), {"focal": "Focal"}
    )
    folder = distribute("fake-b", "raise ImportError('no kernel here')", {"broken": "Focal"})
    (folder.parent / "site-fake-a" / "fake_work.py").write_text(WORK)
    code, results = check("Fake_A")
    assert code == 0
    assert states(results)["focal run"] == "ok"
    assert {result["distribution"] for result in results.values()} == {"fake-a"}
    code, results = check("fake.b")
    assert code == 1
    assert "no kernel here" in results["broken load"]["reason"]


def test_everybody_but_the_core_is_checked_when_nobody_is_named(distribute, check, monkeypatch):
    from anima_core.cli.plugins import checking

    distribute("fake-b", "raise ImportError('no kernel here')", {"broken": "Focal"})
    asked = []
    monkeypatch.setattr(
        checking, "run_checks", lambda target, disabled: asked.append(target.distribution) or ()
    )
    assert check()[0] == 0
    assert asked == ["anima-adapt-dpo", "anima-adapt-longctx", "anima-adapt-qlora", "fake-b"]
    asked.clear()
    assert check("--no-plugin", "fake-b")[0] == 0
    assert "fake-b" not in asked


def test_one_that_is_left_out_is_no_company(distribute, project, check):
    code, results = check(project(), "--no-plugin", "anima-adapt-qlora")
    assert code == 0
    assert "focal run beside xentropy" in results
    assert "focal run beside lora" not in results


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("anima-adapt-dop", "did you mean anima-adapt-dpo"),
        ("pluggy", "no installed distribution of this name offers a strategy"),
        ("./focall", "did you mean"),
        ("./nowhere/focal", "there is no folder"),
        (".", "no pyproject.toml"),
    ],
)
def test_an_unknown_target_is_refused(project, capsys, monkeypatch, word, said):
    monkeypatch.chdir(project().parent)
    assert main(["plugins", "check", word]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("pyproject", "said"),
    [
        ("[project\n", "is not valid TOML"),
        ('[project]\nname = "a"\n', "offers no strategy"),
        ("", "offers no strategy"),
    ],
)
def test_a_folder_that_is_no_plugin_is_refused(project, capsys, pyproject, said):
    assert main(["plugins", "check", str(project(pyproject=pyproject))]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
