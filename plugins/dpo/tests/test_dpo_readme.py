"""The README's tables name every loss and every option, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from anima_dpo.facts import NAMES
from anima_dpo.options import DpoOptions

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def first_cells(section: str) -> list[str]:
    """What stands first in each row, in code, below a heading of a table."""
    table = TEXT.split(section, 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def test_every_loss_is_there():
    assert first_cells("| loss | of a pair") == list(NAMES)


def test_every_option_is_there():
    flags = [f"--dpo.{name.replace('_', '-')}" for name in DpoOptions.model_fields]
    assert first_cells("| option | default") == flags
