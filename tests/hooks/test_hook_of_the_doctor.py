"""The hook that is called without a run, and for third parties in a process of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from anima_core.cli.main import main

from .conftest import HEAD

DIAGNOSE = """
    @hookimpl
    def diagnose(self):
        BODY
"""
WARNING = """return [
            anima_core.Finding("warning", type(self.options).__name__, "buy a GPU")
        ]"""


def test_diagnose(distribute: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Every installed strategy is asked, selected or not, and none keeps another from speaking."""
    head = HEAD.replace("from seen_by_hooks import tell\n", "").replace("SLOTS", "()")
    bodies = {"able": WARNING, "failing": "return 1 / 0", "zealous": WARNING}
    for name, body in bodies.items():
        distribute(f"third-{name}", head + DIAGNOSE.replace("BODY", body), {name: "Mine"})

    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)

    for name in ("able", "zealous"):
        (warning,) = [f for f in found if f["about"] == name and f["level"] == "warning"]
        assert (warning["what"], warning["fix"]) == ("NoOptions", "buy a GPU")
    (error,) = [f for f in found if f["about"] == "failing" and f["level"] == "error"]
    assert "diagnose" in error["what"]
    assert "ZeroDivisionError" in error["what"]
