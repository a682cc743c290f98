"""The messages that the page on combining strategies quotes are the real ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import DOCS

from anima_core.errors import UsageError
from anima_core.registry.selection import select

PAGE = (DOCS / "how-to/combine.md").read_text(encoding="utf-8")


def test_an_unmet_requirement_is_told_as_quoted(
    distribute: Callable[..., Path], good_strategy: str
) -> None:
    source = good_strategy.replace("requires = ()", 'requires = ("lora",)')
    distribute("anima-focal", source, {"focal": "Good"}, "0.1.0")
    with pytest.raises(UsageError) as raised:
        select({"focal": {}})
    assert f"```text\n{raised.value}\n```" in PAGE


def test_two_distributions_with_one_name_are_told_apart_as_said(
    distribute: Callable[..., Path], good_strategy: str
) -> None:
    distribute("anima-focal", good_strategy, {"focal": "Good"}, "0.1.0")
    distribute("other-focal", good_strategy, {"focal": "Good"}, "0.2.0")
    with pytest.raises(UsageError, match=r"anima-focal 0\.1\.0, other-focal 0\.2\.0"):
        select({"focal": {}})
    chosen = select({"anima-focal:focal": {"beta": 1.5}})
    assert chosen.providers["loss"].distribution == "anima-focal"


def test_the_states_are_those_of_the_list() -> None:
    from anima_core.registry.catalog import STATES

    table = PAGE[PAGE.index("| state |") :]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == set(STATES)
