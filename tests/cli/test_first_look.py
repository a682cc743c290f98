"""Phase one finds the selected strategies, imports those alone, and refuses what it must."""

from __future__ import annotations

import sys

import pytest

from anima_core.cli.first_look import first_look
from anima_core.errors import SetupError, UsageError


@pytest.fixture
def good(distribute, good_strategy):
    distribute("fake-good", good_strategy, {"good": "Good", "good-too": "Good"}, version="1.2")


def look(line):
    return first_look(line.split())


def test_strategies_are_found_in_order_and_taken_from_the_line(good):
    found = look("m d --plain --good --steps 3 --good --good.beta 1")

    assert found.named == ["plain", "good"]
    assert list(found.selected) == ["plain", "good"]
    assert found.rest == ["m", "d", "--steps", "3", "--good.beta", "1"]


@pytest.mark.parametrize(
    "line",
    ["m -- --good", "m --output --good", "m -o --good", "m --no-plugin=fake-good -- --good"],
)
def test_a_value_or_an_argument_is_no_flag(good, line):
    assert look(line).named == []


def test_a_strategys_option_takes_its_value_but_a_switch_takes_none(good):
    assert look("m --good --good.names --plain --good.slow --sdpa").named == ["good", "sdpa"]
    assert look("m --good --good.no-slow --sdpa").named == ["good", "sdpa"]


def test_only_the_selected_are_imported(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"good": "Good"})
    distribute("fake-b", "raise RuntimeError('imported')", {"broken": "Good"})

    found = look("m --good")

    assert "broken" in {offer.name for offer in found.offered}
    assert "fake_1_fake_b" not in sys.modules
    with pytest.raises(SetupError, match="imported"):
        look("m --broken")


def test_a_run_files_strategies_are_selected_too(good, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("strategies: {good: {beta: 2}}\n", encoding="utf-8")

    found = look(f"--config {file} --good.beta 3")
    assert (list(found.selected), found.named) == (["good"], [])
    assert list(look(f"--config={file} --sft").selected) == ["sft"]
    with pytest.raises(UsageError, match="add --good"):
        look(f"--config {file} --sft --good.beta 3")


def test_a_distribution_may_be_named(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"twice": "Good"})
    distribute("fake-b", good_strategy, {"twice": "Good"})

    found = look("m --fake-b:twice --fake-b:twice.beta=2 --twice.bits 8")
    assert found.named == ["fake-b:twice"]
    assert found.rest == ["m", "--twice.beta=2", "--twice.bits", "8"]
    with pytest.raises(UsageError, match="2 distributions"):
        look("m --twice")
    assert look("m --twice --no-plugin fake-b").named == ["twice"]


REFUSED = {
    "m --goood": ("--goood", "no such option or strategy", "--good"),
    "m --stepz 3": ("--stepz", "no such option or strategy", "--steps"),
    "m --good-too.beta 3": ("--good-too.beta", "not selected", "add --good-too"),
    "m --good --good.bta 3": ("--good.bta", "no such option", "did you mean --good.beta?"),
    "m --good --good.no-beta": ("--good.no-beta", "no such option", "--good.beta"),
    "m --goood.beta 3": ("--goood.beta", "no such option or strategy", "--good"),
    "m --good=yes": ("--good", "takes no value", "--good.NAME"),
    "m --auto_tokenizer": ("--auto_tokenizer", "no such option", "--auto-tokenizer"),
    "m --good --no-plugin fake-good": ("--good", "is left out", "--no-plugin fake-good"),
    "m --no-plugin fake-goud": ("--no-plugin fake-goud", "offers no strategy", "fake-good"),
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_meant_is_refused_in_words_that_help(good, line):
    where, what, fix = REFUSED[line]

    with pytest.raises(UsageError) as raised:
        look(line)
    assert raised.value.where == where
    assert what in raised.value.what
    assert fix in raised.value.fix


def test_a_strategy_named_like_a_core_option_leaves_the_option_alone(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"steps": "Good"})

    found = look("m --steps 3")

    assert found.named == []
    assert "steps" not in {offer.name for offer in found.offered}
