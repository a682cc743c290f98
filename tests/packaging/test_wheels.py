"""The four wheels build, and hold their package and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="builds wheels with the build backend itself")

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = {
    "anima_adapt": (ROOT, "anima_core"),
    "anima_adapt_qlora": (ROOT / "plugins/qlora", "anima_qlora"),
    "anima_adapt_dpo": (ROOT / "plugins/dpo", "anima_dpo"),
    "anima_adapt_longctx": (ROOT / "plugins/longctx", "anima_longctx"),
}


@pytest.fixture(scope="module", params=DISTRIBUTIONS)
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder, package = DISTRIBUTIONS[request.param]
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = target.glob("*.whl")
    assert path.name.startswith(f"{request.param}-0.1.0-py3-none-any")
    with zipfile.ZipFile(path) as archive:
        yield folder, package, archive


def test_a_wheel_holds_every_module_of_its_package(wheel) -> None:
    folder, package, archive = wheel
    inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(folder).as_posix()
        for path in (folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == sources
    assert f"{package}/py.typed" in inside


def test_a_wheel_carries_licence_readme_and_entry_points(wheel) -> None:
    folder, _, archive = wheel
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = {name.split(".dist-info/")[1]: name for name in archive.namelist() if ".dist" in name}
    assert archive.read(info["licenses/LICENSE"]).decode() == (folder / "LICENSE").read_text()
    metadata = Parser().parsestr(archive.read(info["METADATA"]).decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_payload().strip() == (folder / "README.md").read_text().strip()
    entries = archive.read(info["entry_points.txt"]).decode()
    for name, target in project["entry-points"]["anima.strategies"].items():
        assert f"{name} = {target}" in entries
