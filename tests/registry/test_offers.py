"""Strategies are known from metadata alone, and a name means one of them."""

from __future__ import annotations

import sys

import pytest

from anima_core.errors import UsageError
from anima_core.registry.offers import (
    find_offer,
    offers,
    refusal,
    reserved_names,
    unknown_in_variable,
)


def named(name, offered):
    return [offer for offer in offered if offer.name == name]


def test_an_offer_says_where_it_comes_from_and_imports_nothing(distribute, good_strategy):
    distribute("Fake_Good", good_strategy, {"good": "Good"}, version="2.3")

    (offer,) = named("good", offers())

    assert (offer.distribution, offer.version) == ("fake-good", "2.3")
    assert offer.entry_point.module not in sys.modules


def test_the_cores_own_strategies_come_from_the_core():
    assert {o.name for o in offers() if o.distribution == "anima-adapt"} >= {"sft", "sdpa", "full"}


def test_offers_are_sorted_whatever_the_order_on_the_path(distribute, good_strategy):
    distribute("fake-b", good_strategy, {"twice": "Good", "aaa": "Good"})
    distribute("fake-a", good_strategy, {"twice": "Good"})

    offered = offers()

    assert [o.distribution for o in named("twice", offered)] == ["fake-a", "fake-b"]
    assert [o.name for o in offered] == sorted(o.name for o in offered)


def test_a_name_of_two_distributions_is_refused_until_one_is_named(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"twice": "Good"}, version="1.1")
    distribute("fake-b", good_strategy, {"twice": "Good"}, version="2.2")

    with pytest.raises(UsageError) as raised:
        find_offer("twice", offers())
    for part in ("fake-a 1.1", "fake-b 2.2"):
        assert part in raised.value.what
    assert "--fake-b:twice" in raised.value.fix
    assert find_offer("Fake_B:twice", offers()).version == "2.2"


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_distribution_can_be_left_out(distribute, good_strategy, monkeypatch, how):
    distribute("fake-a", good_strategy, {"good": "Good"})
    if how == "environment":
        monkeypatch.setenv("ANIMA_DISABLE_PLUGINS", "other, Fake_A")

    assert named("good", offers(["Fake.A"] if how == "argument" else [])) == []


def test_the_core_cannot_be_left_out():
    with pytest.raises(UsageError, match="cannot be left out"):
        offers(["anima-adapt"])


def test_an_unknown_name_brings_the_nearest():
    with pytest.raises(UsageError) as raised:
        find_offer("sdap", offers())
    assert "--sdpa" in raised.value.fix


def test_a_distribution_that_does_not_offer_the_name_is_told():
    with pytest.raises(UsageError, match="anima-adapt 0") as raised:
        find_offer("nobody:sft", offers())
    assert raised.value.where == "--nobody:sft"


@pytest.mark.parametrize(
    "name", ["steps", "batch-size", "no-resume", "config", "Upper", "under_score"]
)
def test_a_name_that_is_no_fit_flag_is_refused(distribute, good_strategy, name):
    distribute("fake-a", good_strategy, {name: "Good"})

    (offer,) = named(name, offers())

    assert refusal(offer)
    with pytest.raises(UsageError):
        find_offer(name, offers())


def test_no_strategy_of_ours_bears_a_core_options_name():
    assert (
        not {o.name for o in offers() if o.distribution.startswith("anima-adapt")}
        & reserved_names()
    )


def test_snake_case_means_the_same_strategy():
    assert find_offer("auto_tokenizer", offers()).name == "auto-tokenizer"


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_strategy_that_was_left_out_is_not_called_unknown(
    distribute, good_strategy, monkeypatch, how
):
    distribute("fake-a", good_strategy, {"good": "Good"}, version="1.1")
    if how == "environment":
        monkeypatch.setenv("ANIMA_DISABLE_PLUGINS", "fake_a")

    with pytest.raises(UsageError) as raised:
        find_offer("good", offers(["fake-a"] if how == "argument" else []))

    assert "fake-a 1.1 offers this strategy, and is left out" in raised.value.what
    fix = {"argument": "--no-plugin fake-a", "environment": "ANIMA_DISABLE_PLUGINS"}[how]
    assert fix in raised.value.fix


def test_a_misspelt_distribution_in_the_environment_is_known(
    distribute, good_strategy, monkeypatch
):
    distribute("fake-a", good_strategy, {"good": "Good"})
    monkeypatch.setenv("ANIMA_DISABLE_PLUGINS", "Fake_A, fake-bb")

    assert unknown_in_variable() == ["fake-bb"]
