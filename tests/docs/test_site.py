"""The site builds without a warning, needs no network, and has a complete reference."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from pages import ROOT

import anima_core
import anima_core.testing
from anima_core import errors
from anima_core.cli.app import RUN_COMMANDS, build_app
from anima_core.config.core import CoreOptions
from anima_core.config.requests import core_flag
from anima_core.hookspecs import HOOKS, AnimaSpecs
from anima_core.registry.options import option_flag

pytest.importorskip("mkdocs", reason="builds the site")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, from a build that said nothing."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


def text_of(site: Path, name: str) -> str:
    """A page's text, without markup, each run of space as one."""
    page = (site / f"{name}.html").read_text(encoding="utf-8")
    article = page[page.index("<article") : page.index("</article>")]
    spaced = re.sub(r"</?(?:td|th|p|li|h\d|pre)\b[^>]*>", " ", article)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", spaced)).split())


def ids_of(site: Path, name: str) -> set[str]:
    return set(re.findall(r'id="([^"]+)"', (site / f"{name}.html").read_text(encoding="utf-8")))


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]*src="([^"]+)"', text)
        loaded += re.findall(r'<link[^>]*href="([^"]+)"', text)
        assert not [url for url in loaded if "//" in url], page.name


def test_the_site_holds_no_code_of_its_build(site: Path) -> None:
    assert not list(site.rglob("*.py"))


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_there_with_its_parameters(site: Path, name: str) -> None:
    from inspect import signature

    assert name in ids_of(site, "reference/hooks")
    text = text_of(site, "reference/hooks")
    said = text[text.index(f"{name}(") :]
    for parameter in list(signature(getattr(AnimaSpecs, name)).parameters)[1:]:
        assert re.match(rf"{name}\([^)]*\b{parameter}:", said), parameter
    info = HOOKS[name]
    first = str(getattr(AnimaSpecs, name).__doc__).strip().splitlines()[0].replace("`", "")
    assert first in text
    default = f", answered by {info.default} by default" if info.default else ""
    assert f"{info.kind}{default}; since hook API {info.since}. {name}(" in text


@pytest.mark.parametrize(
    "readme", sorted((ROOT / "plugins").glob("*/README.md")), ids=lambda path: path.parent.name
)
def test_every_plugin_has_its_readme_there(site: Path, readme: Path) -> None:
    page = f"plugins/{readme.parent.name}"
    text = text_of(site, page)
    outside = re.sub(r"```.*?```", "", readme.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", outside, flags=re.MULTILINE)
    assert len(headings) > 3
    for heading in headings:
        assert heading.replace("`", "") in text, heading
    links = set(re.findall(r'href="#([^"]+)"', (site / f"{page}.html").read_text("utf-8")))
    assert links - {"__skip"} <= ids_of(site, page)


def strategies() -> Iterator[tuple[str, str, Any]]:
    """Every strategy of this repository, with its distribution and class."""
    for path in [ROOT / "pyproject.toml", *(ROOT / "plugins").glob("*/pyproject.toml")]:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        for name, target in project["entry-points"]["anima.strategies"].items():
            module, _, attribute = target.partition(":")
            yield name, project["name"], getattr(import_module(module), attribute)


@pytest.mark.parametrize(("name", "dist", "cls"), list(strategies()), ids=str)
def test_every_strategy_is_there_with_all_its_options(
    site: Path, name: str, dist: str, cls: Any
) -> None:
    assert name in ids_of(site, "reference/strategies")
    text = text_of(site, "reference/strategies")
    assert f"From {dist}; flag --{name}." in text
    assert cls.summary.replace("``", "") in text
    for option, field in cls.Options.model_fields.items():
        flag = option_flag(name, option)
        assert re.search(rf"{re.escape(flag)}(?![\w-])", text), flag
        described = " ".join(str(field.description).replace("`", "").split())
        assert described in text, flag


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that is no group, with typer's parser of it."""

    def walk(path: tuple[str, ...], found: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        inner = getattr(found, "commands", None)
        if inner is None:
            yield path, found
        for word, command in (inner or {}).items():
            yield from walk((*path, word), command)

    return walk((), typer.main.get_command(build_app()))


def test_every_command_is_there_with_its_options(site: Path) -> None:
    ids, text = ids_of(site, "reference/commands"), text_of(site, "reference/commands")
    found = dict(commands())
    assert {("train",), ("plan",), ("generate",), ("doctor",), ("plugins", "new")} <= set(found)
    for path, command in found.items():
        assert "-".join(path) in ids
        start = text.index(f"anima {' '.join(path)} ")
        for parameter in command.params:
            for flag in [f for f in parameter.opts if f.startswith("--")]:
                assert flag in text[start:], f"{path} {flag}"
            assert " ".join((parameter.help or "").split()) in text[start:], f"{path} {parameter}"


@pytest.mark.parametrize("command", RUN_COMMANDS)
def test_every_core_option_is_there(site: Path, command: str) -> None:
    text = text_of(site, "reference/commands")
    after = text[text.index(f"anima {command} [MODEL]") :]
    for name, field in CoreOptions.model_fields.items():
        assert core_flag(name) in after, name
        assert " ".join(str(field.description).split()) in after, name


@pytest.mark.parametrize(
    ("page", "module"), [("python", anima_core), ("testing", anima_core.testing)], ids=str
)
def test_every_public_name_is_there_with_its_docstring(site: Path, page: str, module: Any) -> None:
    ids, text = ids_of(site, f"reference/{page}"), text_of(site, f"reference/{page}")
    for name in module.__all__:
        assert name.strip("_") in ids, name
        value = getattr(module, name)
        if isinstance(value, type) or hasattr(value, "__code__"):
            first = (value.__doc__ or "").strip().splitlines()[0].replace("`", "")
            assert first, f"{name} has no docstring"
            assert first.rstrip(":") in text, name


def test_every_fixture_is_there(site: Path) -> None:
    text = text_of(site, "reference/testing")
    source = (ROOT / "anima_core/testing/fixtures.py").read_text(encoding="utf-8")
    found = re.findall(r"^@pytest\.fixture.*\ndef (\w+)", source, flags=re.MULTILINE)
    assert len(found) >= 4
    for name in found:
        assert name in text[text.index("Fixtures") :], name


def test_every_exit_code_is_there(site: Path) -> None:
    text = text_of(site, "reference/exit-codes")
    for error in errors.AnimaError.__subclasses__():
        if "exit_code" in vars(error):
            assert f"{error.exit_code} {error.__name__} {(error.__doc__ or '').strip()}" in text


def test_every_environment_variable_of_ours_is_there(site: Path) -> None:
    text = text_of(site, "reference/environment")
    sources = [*(ROOT / "anima_core").rglob("*.py"), *(ROOT / "plugins").glob("*/anima_*/*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    found = set(re.findall(r"\bANIMA_[A-Z][A-Z_]*[A-Z]\b", code))
    assert {"ANIMA_CACHE", "ANIMA_DISABLE_PLUGINS"} <= found
    for name in found | set(re.findall(r'environ(?:\.get\(|\.setdefault\(|\[)"(\w+)"', code)):
        assert name in text, name
