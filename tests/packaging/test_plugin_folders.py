"""Each plugin folder can be copied, built and published by itself."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
PROJECTS = [ROOT, *PLUGINS]


def project(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def test_the_bundled_plugins_are_there() -> None:
    assert {path.name for path in PLUGINS} == {"qlora", "dpo", "longctx"}


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_folder_is_complete(folder: Path) -> None:
    package = folder / f"anima_{folder.name}"
    for path in (folder / "README.md", folder / "LICENSE", package / "__init__.py"):
        assert path.stat().st_size, f"{path} is empty"
    assert (package / "py.typed").is_file()
    assert list((folder / "tests").rglob("test_*.py")), f"{folder.name} has no test"
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_readme_names_its_strategies_and_how_to_install_it(folder: Path) -> None:
    readme = (folder / "README.md").read_text()
    meta = project(folder)
    assert meta["name"] == f"anima-adapt-{folder.name}"
    assert re.search(rf"pip install .*\b{meta['name']}\b", readme)
    for strategy in meta["entry-points"]["anima.strategies"]:
        assert f"--{strategy}" in readme, f"{strategy} is not in {folder.name}'s README"


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_depends_on_the_core_and_on_no_other_plugin(folder: Path) -> None:
    needs = [re.split(r"[<>=!~ \[;]", need)[0] for need in project(folder)["dependencies"]]
    assert "anima-adapt" in needs
    assert not [need for need in needs if need.startswith("anima-adapt-")]


def test_plugins_is_no_package_with_a_second_copy() -> None:
    """An editable core puts the repository root on ``sys.path``: one module, one name."""
    assert not (ROOT / "plugins" / "__init__.py").exists()
    assert not [path for path in PLUGINS if (path / "__init__.py").exists()]
    for path in PLUGINS:
        spec = importlib.util.find_spec(f"anima_{path.name}")
        assert spec is not None
        assert "plugins." not in spec.name
    script = (
        "import sys, importlib.metadata as m\n"
        "[e.load() for e in m.entry_points(group='anima.strategies')]\n"
        "print(*[n for n in sys.modules if n == 'plugins' or n.startswith('plugins.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("folder", PROJECTS, ids=lambda path: path.name)
def test_torch_is_pinned_in_the_constraints_alone(folder: Path) -> None:
    text = (folder / "pyproject.toml").read_text()
    assert not re.search(r'"torch\s*(==|~=|<|@)', text)


def test_constraints_pin_every_requirement_of_the_four() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), "one exact pin a line"
    pinned = {pin.split("==")[0].lower().replace("_", "-") for pin in pins}
    group = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    wanted = [need for folder in PROJECTS for need in project(folder)["dependencies"]] + group
    names = {re.split(r"[<>=!~ \[;]", need)[0].lower() for need in wanted}
    assert sorted(names - pinned - {"anima-adapt"}) == []


def test_nothing_names_a_package_index() -> None:
    """Where packages come from is for the person who installs to say."""
    for name in ("Makefile", "constraints.txt", ".ci/run", "pyproject.toml"):
        text = (ROOT / name).read_text()
        assert not re.search(r"index-url|find-links|trusted-host", text), name
