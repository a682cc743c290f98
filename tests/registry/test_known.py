"""A published strategy that is not installed is told with what to install."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from anima_core.cli.first_look import first_look
from anima_core.errors import UsageError
from anima_core.registry import offers as offers_module
from anima_core.registry.known import PUBLISHED, Published, not_installed
from anima_core.registry.offers import find_offer, offers
from anima_core.registry.selection import select

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"


def test_the_table_is_what_the_plugins_offer():
    offered = {}
    for path in PLUGINS.glob("*/pyproject.toml"):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        for name, target in project["entry-points"]["anima.strategies"].items():
            module, _, attribute = target.partition(":")
            cls = getattr(import_module(module), attribute)
            offered[name] = Published(project["name"], cls.slots)
    assert offered == PUBLISHED


@pytest.fixture
def without_dpo(monkeypatch):
    every = offers_module.every_offer

    def fewer():
        return [offer for offer in every() if offer.distribution != "anima-adapt-dpo"]

    monkeypatch.setattr(offers_module, "every_offer", fewer)


@pytest.mark.usefixtures("without_dpo")
def test_what_to_install_is_told():
    for reference in ("dpo", "anima-adapt-dpo:dpo"):
        with pytest.raises(UsageError) as raised:
            find_offer(reference, offers())
        assert raised.value.what == "dpo comes with anima-adapt-dpo, which is not installed"
        assert raised.value.fix == "pip install anima-adapt-dpo"
        assert raised.value.where == "--dpo"
    with pytest.raises(UsageError, match="no installed distribution offers"):
        find_offer("other:dpo", offers())


WORDS = ("fake-a 1.2) answers the same slot `loss`", "dpo comes with anima-adapt-dpo", "good (from")


@pytest.mark.usefixtures("without_dpo")
def test_one_that_answers_the_same_slot_is_told_too(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"good": "Good"}, version="1.2")

    with pytest.raises(UsageError) as on_the_command_line:
        first_look(["m", "d", "--good", "--dpo", "--xentropy"])
    with pytest.raises(UsageError) as in_python:
        select({"xentropy": {}, "good": {}, "dpo": {}})

    expected = (
        "dpo comes with anima-adapt-dpo, which is not installed; and good (from fake-a 1.2) "
        "answers the same slot `loss`: name one of them"
    )
    for raised in (on_the_command_line, in_python):
        assert raised.value.what == expected
        assert raised.value.fix == "pip install anima-adapt-dpo, and leave out --good"


@pytest.mark.usefixtures("without_dpo")
def test_its_options_are_known_to_be_its(distribute, good_strategy):
    with pytest.raises(UsageError) as raised:
        first_look(["m", "d", "--dpo.beta", "0.1"])
    assert raised.value.where == "--dpo.beta"
    assert "anima-adapt-dpo" in raised.value.fix


@pytest.mark.usefixtures("without_dpo")
def test_one_that_needs_it_says_so_too(distribute, good_strategy):
    needing = good_strategy.replace("requires = ()", 'requires = ("dpo",)')
    distribute("fake-a", needing, {"good": "Good"}, version="1.2")
    with pytest.raises(UsageError) as raised:
        select({"good": {}})
    assert "good (from fake-a 1.2) needs the strategy `dpo`: dpo comes with" in raised.value.what
    assert raised.value.fix == "pip install anima-adapt-dpo"


def test_what_nobody_published_is_not_known():
    assert not_installed("focal", "--focal") is None


def test_one_that_is_left_out_is_not_called_missing():
    with pytest.raises(UsageError, match="is left out"):
        find_offer("dpo", offers(["anima-adapt-dpo"]))
