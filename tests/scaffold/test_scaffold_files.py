"""What is written: no placeholder, nothing to lint, whole or not at all, and over nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from anima_core.cli.main import main
from anima_core.errors import UsageError
from anima_core.scaffold import write
from anima_core.scaffold.kinds import SUMMARIES
from anima_core.scaffold.names import LONGEST, Names
from anima_core.scaffold.render import core_range, rendered
from anima_core.scaffold.write import write_folder
from anima_core.testing import check_import_budget
from anima_core.version import __version__

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "pyproject.toml"
PLACEHOLDERS = re.compile(
    r"\$|\{\{|todo|fixme|xxx|foobar|placeholder|example\.(com|org)"
    r"|\b(my|your|our|some)[-_]\w|(my|your|example|template|dummy|sample)[-_ ]?(plugin|strategy)"
    r"|anima[-_](template|example|name)",
    re.IGNORECASE,
)
# The shortest name, the longest, one of many words, and one whose class must be called otherwise.
NAMES = ("q", "x" * LONGEST, "a-b-c-d-e-f-g-h-i-j-k-lm", "sequence")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of plugins: ``HOOK/NAME/``, for every hook and every kind of name."""
    folder = tmp_path_factory.mktemp("generated")
    for hook in SUMMARIES:
        (folder / hook).mkdir()
        for name in NAMES:
            write_folder(folder / hook / name, rendered(Names(name), hook))
    return folder


def plugins(generated: Path) -> Iterator[Path]:
    return (folder for hook in sorted(generated.iterdir()) for folder in sorted(hook.iterdir()))


@pytest.mark.parametrize("hook", SUMMARIES)
def test_the_layout_is_that_of_an_installable_package(hook: str) -> None:
    contents = rendered(Names("token-weights"), hook)
    assert set(contents) == {
        "pyproject.toml",
        "README.md",
        "anima_token_weights/__init__.py",
        "anima_token_weights/py.typed",
        "anima_token_weights/strategy.py",
        f"anima_token_weights/{hook}.py",
        "tests/test_token_weights.py",
        "tests/test_token_weights_conformance.py",
    }
    project = tomllib.loads(contents["pyproject.toml"])["project"]
    assert project["name"] == "anima-token-weights"
    assert project["dependencies"] == [f"anima-adapt{core_range(__version__)}"]
    points = project["entry-points"]["anima.strategies"]
    assert points == {"token-weights": "anima_token_weights.strategy:TokenWeights"}


@pytest.mark.parametrize(
    ("version", "wanted"),
    [("0.1.0", ">=0.1.0,<0.2"), ("0.12.3", ">=0.12.3,<0.13"), ("2.4.1", ">=2.4.1,<3")],
)
def test_a_plugin_asks_for_versions_that_may_not_break_it(version: str, wanted: str) -> None:
    assert core_range(version) == wanted


@pytest.mark.parametrize("hook", SUMMARIES)
def test_no_placeholder_is_left(hook: str) -> None:
    for path, text in rendered(Names("quokka"), hook).items():
        found = PLACEHOLDERS.search(text) or PLACEHOLDERS.search(path)
        assert found is None, f"{path} holds {found.group()!r}" if found else ""
        assert text.endswith("\n") or not text, path


@pytest.mark.parametrize("hook", SUMMARIES)
def test_every_name_follows_the_given_one(hook: str) -> None:
    one, other = rendered(Names("quokka"), hook), rendered(Names("wombat"), hook)
    as_other = {
        path.replace("quokka", "wombat"): text.replace("quokka", "wombat").replace(
            "Quokka", "Wombat"
        )
        for path, text in one.items()
    }
    assert as_other == other
    classes = re.findall(r"^class (\w+)", "\n".join(one.values()), flags=re.MULTILINE)
    assert {"Quokka", "QuokkaOptions"} <= set(classes)
    public = [name for name in classes if not name.startswith("_")]
    assert all(name.startswith("Quokka") for name in public), public


@pytest.mark.parametrize("hook", SUMMARIES)
def test_the_readme_has_every_option(hook: str) -> None:
    contents = rendered(Names("quokka"), hook)
    strategy = contents["anima_quokka/strategy.py"]
    options = re.findall(r"^    (\w+): .* = Field\($", strategy, flags=re.MULTILINE)
    assert options
    for option in options:
        assert f"`--quokka.{option.replace('_', '-')}`" in contents["README.md"]
    for word in ("pip install", "pytest", "anima train", "twine upload"):
        assert word in contents["README.md"]


def test_ruff_finds_nothing_whatever_the_name(generated: Path) -> None:
    pytest.importorskip("ruff")
    for folder in plugins(generated):
        for command in (["check"], ["format", "--check"]):
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *command, "--config", str(CONFIG), "."],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{folder}\n{done.stdout}{done.stderr}"


def test_mypy_finds_nothing(generated: Path) -> None:
    pytest.importorskip("mypy")
    folder = generated.parent / f"{generated.name}-typed"
    folder.mkdir()
    packages = []
    for hook in SUMMARIES:
        names = Names(f"typed-{hook.replace('_', '-')}")
        write_folder(folder / names.strategy, rendered(names, hook))
        packages += ["-p", names.package]
    paths = os.pathsep.join(str(path) for path in folder.iterdir())
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(CONFIG)]
    cache = ["--cache-dir", str(ROOT / ".mypy_cache")]  # torch, typed anew, takes minutes
    done = subprocess.run(
        [*command, *cache, *packages],
        cwd=folder,
        env={**os.environ, "MYPYPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_says_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "quokka", "--slot", "loss"]) == 0
    said = capsys.readouterr().out
    for line in (
        "python -m pip install -e 'quokka[test]'",
        "python -m pytest quokka",
        "anima train demo DATA --quokka --output runs/quokka",
    ):
        assert line in said
    written = {p.relative_to("quokka").as_posix() for p in Path("quokka").rglob("*") if p.is_file()}
    assert written == set(rendered(Names("quokka"), "loss"))
    assert all(path in said for path in written)
    assert os.listdir(tmp_path) == ["quokka"]  # noqa: PTH208 - hidden files too


def test_a_plugin_is_written_without_torch() -> None:
    check_import_budget("anima_core.cli.plugins.making")
    check_import_budget("anima_core.attention.segments")  # for an attention's name


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_nothing_is_written_over(tmp_path: Path, there: str) -> None:
    target = tmp_path / "quokka"
    if there == "folder":
        target.mkdir()
    elif there == "file":
        target.write_text("kept")
    else:
        target.symlink_to(tmp_path / "nowhere")
    assert main(["plugins", "new", "quokka", "--slot", "loss", "--into", str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["quokka"]
    assert there != "folder" or not list(target.iterdir())
    assert there != "file" or target.read_text() == "kept"
    assert there != "link" or target.is_symlink()


def test_a_folder_to_write_in_must_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for into in ("absent", "file"):
        words = ["plugins", "new", "quokka", "--slot", "loss", "--into", str(tmp_path / into)]
        assert main(words) == 2
        assert "--into" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(folder: Path) -> None:
        assert list(folder.rglob("*.py"))
        raise error

    monkeypatch.setattr(write, "sync_tree", fail)
    expected = UsageError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_folder(tmp_path / "quokka", rendered(Names("quokka"), "loss"))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_appears_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "quokka"
    monkeypatch.setattr(write, "sync_tree", lambda _: target.mkdir())
    with pytest.raises(UsageError, match="there already"):
        write_folder(target, {"a.txt": "text"})
    assert [path.name for path in tmp_path.iterdir()] == ["quokka"]
    assert not list(target.iterdir())
