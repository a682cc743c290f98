"""The warm process of a session, as fixtures: a pytest plugin (see ``conftest.py``)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import Warm, warm_process


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """The process that command lines are forked from, started for the first of them."""
    with warm_process() as warm:
        yield warm


@pytest.fixture(scope="session")
def warm_python(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program to use in the place of this session's `python`."""
    return warm.python(Path(sys.executable), tmp_path_factory.mktemp("warm") / "python")


@pytest.fixture
def warm_children(warm_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `anima` tries in a process of its own is tried in a warm one."""
    monkeypatch.setattr(sys, "executable", str(warm_python))
