"""The README's tables name every loss and every option, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from anima_dpo.cpo.strategy import CpoOptions
from anima_dpo.facts import NAMES
from anima_dpo.kto.strategy import KtoOptions
from anima_dpo.options import DpoOptions
from anima_dpo.orpo.strategy import OrpoOptions
from anima_dpo.reward.strategy import RewardOptions
from anima_dpo.simpo.strategy import SimpoOptions

WORDS = {"reference": "the model as training starts"}
"""Defaults that are None, as the README has them."""
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


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("orpo", OrpoOptions),
        ("simpo", SimpoOptions),
        ("cpo", CpoOptions),
        ("kto", KtoOptions),
        ("reward", RewardOptions),
    ],
)
def test_every_option_of_the_others_is_there_with_its_default(name, options):
    rows = re.findall(rf"^\| `--{name}\.([a-z-]+)` \| ([^|]+) \|", TEXT, re.MULTILINE)
    assert {flag.replace("-", "_"): told for flag, told in rows} == {
        field: WORDS.get(field, str(info.default)) for field, info in options.model_fields.items()
    }


def test_what_is_written_in_words_is_left_out_by_default():
    assert all(KtoOptions.model_fields[field].default is None for field in WORDS)
