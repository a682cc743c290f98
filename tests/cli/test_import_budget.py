"""What may be imported before work starts, counted in a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "peft", "bitsandbytes", "datasets", "accelerate", "tokenizers"}
REPORT = "import sys, json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"


def modules_after(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{REPORT}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def command(line):
    return f"from anima_core.cli.main import main; assert main({line.split()!r}) == 0"


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "--version",
        "train --help",
        "plan --help",
        "train --lora --dpo --help",
        "generate --help",
        "doctor --help",
        "plugins list",
        "plugins list --json",
        "plugins show sft",
        "plugins show sft --json",
        "plugins new --help",
        "plugins check --help",
    ],
)
def test_a_command_that_does_no_work_imports_nothing_heavy(line):
    assert not HEAVY & modules_after(command(line))


# How many modules of any kind each may have imported, the interpreter's own and those of the
# environment's start-up files among them: what was measured, and a tenth. Only ever lowered, but
# for `plugins list`, which imports every strategy: those that came since have theirs counted in.
BUDGET = {
    "--help": 350,
    "plugins list": 345,
    "train --help": 515,
    "plugins show sft": 380,
    "plugins new --help": 460,
}


@pytest.mark.parametrize("line", BUDGET)
def test_a_command_that_does_no_work_imports_few_modules(line):
    imported = modules_after(command(line))
    assert len(imported) <= BUDGET[line], f"{len(imported)} modules: {sorted(imported)}"


def test_a_third_partys_strategy_is_imported_elsewhere(distribute, good_strategy):
    """It is imported by no help, and by `plugins list` in another process, as torch is."""
    folders = [
        distribute("fake-good", good_strategy, {"good": "Good"}),
        distribute("fake-heavy", f"import torch\n{good_strategy}", {"heavy": "Good"}),
    ]
    path = f"import sys; sys.path[:0] = {[*map(str, folders)]!r}\n"
    for line, process in (("plugins list", 30), ("train --help", 0)):
        without, beside = (modules_after(start + command(line)) for start in ("", path))
        extra = beside - without
        assert len(extra) <= process, sorted(extra)
        assert not ({"fake_0_fake_good", "fake_1_fake_heavy"} | HEAVY) & extra


def test_the_package_itself_imports_nothing():
    modules = modules_after("import anima_core")
    ours = {name for name in modules if name.split(".")[0] == "anima_core"}
    assert ours == {"anima_core", "anima_core.version"}
    assert not (HEAVY | {"pydantic", "pluggy", "typer", "rich", "yaml"}) & modules


def test_every_public_name_is_found_without_torch():
    names = "set(anima_core.__all__) - {'adapt'}"
    code = f"import anima_core\nfor name in {names}: getattr(anima_core, name)"
    assert not HEAVY & modules_after(code)


def test_the_help_of_train_imports_no_strategy():
    modules = modules_after(command("train --help"))
    assert not {name for name in modules if name.split(".")[0] in ("anima_qlora", "anima_dpo")}


def test_public_names_are_told_and_others_are_refused():
    import anima_core

    assert set(anima_core.__all__) <= set(dir(anima_core))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = anima_core.Nonsense
