"""The hook that is called without a run."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from anima_core.cli.main import main

from .conftest import Seen

DIAGNOSE = """
@hookimpl
def diagnose(self):
    tell(NAME, options=self.options)
    BODY
"""
WARNING = 'return [anima_core.Finding("warning", "no paging here", "buy a GPU")]'


def test_diagnose(
    strategy: Callable[..., None], seen: Seen, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every installed strategy is asked, selected or not, and none keeps another from speaking."""
    bodies = {"able": WARNING, "failing": "return 1 / 0", "zealous": WARNING}
    for name, body in bodies.items():
        strategy(name, (), DIAGNOSE.replace("NAME", repr(name)).replace("BODY", body))

    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)

    assert seen.names() == ["able", "failing", "zealous"]
    assert type(seen.one("able")["options"]).__name__ == "NoOptions"
    for name in ("able", "zealous"):
        (warning,) = [f for f in found if f["about"] == name and f["level"] == "warning"]
        assert (warning["what"], warning["fix"]) == ("no paging here", "buy a GPU")
    (error,) = [f for f in found if f["about"] == "failing" and f["level"] == "error"]
    assert "diagnose" in error["what"]
    assert "ZeroDivisionError" in error["what"]
