"""The line that was parsed becomes the request that was meant; the help says what there is."""

from __future__ import annotations

import re

import pytest

from anima_core.cli import train as module
from anima_core.cli.core_flags import OTHER_PANEL, PANELS
from anima_core.cli.main import main
from anima_core.config.core import CoreOptions
from anima_core.config.requests import core_options


@pytest.fixture
def request_of(monkeypatch):
    """The request that `anima train` would run."""

    def request_of(line):
        seen = []
        monkeypatch.setattr(module, "run_train", lambda request: seen.append(request) or 0)
        assert main(["train", *line.split()]) == 0
        return seen[0]

    return request_of


@pytest.fixture
def good(distribute, good_strategy):
    distribute("fake-good", good_strategy, {"good": "Good"}, version="1.2")


@pytest.fixture
def help_of(monkeypatch, capsys):
    def help_of(line):
        monkeypatch.setenv("COLUMNS", "80")
        assert main([*line.split(), "--help"]) == 0
        return re.sub(r"\s+", " ", re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out))

    return help_of


def test_a_whole_line(good, request_of):
    request = request_of(
        "m a.json b.json --good --good.beta 2 --good.bits 8 --good.slow --steps 3 -o out "
        "--sample-prompts x --sample-prompts y --resume"
    )

    assert request.core == {
        "model": "m",
        "data": ["a.json", "b.json"],
        "steps": "3",
        "output": "out",
        "sample_prompts": ["x", "y"],
        "resume": True,
    }
    assert request.strategies == {"good": {"beta": "2", "bits": "8", "slow": True}}
    assert request.argv[:3] == ("anima", "train", "m")
    assert core_options(request).sample_prompts == ("x", "y")


def test_nothing_more_is_asked_than_was_said(request_of):
    request = request_of("m d")
    assert (dict(request.core), dict(request.strategies)) == ({"model": "m", "data": ["d"]}, {})


def test_distributions_left_out_are_part_of_the_request(good, request_of):
    assert request_of("m d --no-plugin fake-good").disabled == ("fake-good",)


def test_the_line_goes_over_the_run_file(good, request_of, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "model: org/m\ndata: org/d\nsteps: 3\ngradient_checkpointing: true\n"
        "strategies: {good: {beta: 2, slow: true}, plain: {}}\n",
        encoding="utf-8",
    )

    request = request_of(
        f"--config {file} --epochs 2 --no-gradient-checkpointing --good.no-slow --adamw"
    )

    assert request.core == {
        "model": "org/m",
        "data": "org/d",
        "epochs": "2",
        "gradient_checkpointing": False,
    }
    assert request.strategies == {"good": {"beta": 2, "slow": False}, "plain": {}, "adamw": {}}


def test_on_and_off_at_once_is_refused(capsys):
    assert main(["train", "m", "d", "--resume", "--no-resume"]) == 2
    assert "--resume" in capsys.readouterr().err


def test_the_help_of_train_says_every_core_option_and_every_strategy(good, help_of):
    text = help_of("train")

    for panel in (*PANELS, module.STRATEGIES_PANEL):
        assert panel in text
    for name in CoreOptions.model_fields:
        if name not in ("model", "data"):
            assert f"--{name.replace('_', '-')} " in text, name
    assert "--good from fake-good 1.2" in text
    assert "--good.beta" not in text
    assert "…" not in text.replace("mlflow …", "")


def test_the_help_shows_the_options_of_the_selected(good, help_of):
    text = help_of("train --good")

    assert "Options of --good" in text
    assert "--good.beta NUMBER Strength. [default: 0.5]" in text
    assert "--good.bits 4|8 Bits. [default: 4]" in text
    assert "--good.slow Be slow." in text


def test_every_panel_names_options_that_exist():
    named = [name for names in PANELS.values() for name in names]
    assert set(named) <= set(CoreOptions.model_fields)
    assert len(named) == len(set(named))
    assert set(CoreOptions.model_fields) - set(named) == {"model", "data"}, OTHER_PANEL


def test_two_offers_of_one_name_are_shown_with_their_distributions(
    distribute, good_strategy, help_of
):
    distribute("fake-a", good_strategy, {"twice": "Good"})
    distribute("fake-b", good_strategy, {"twice": "Good"})
    text = help_of("train")
    assert "--fake-a:twice" in text
    assert "--fake-b:twice" in text


BAD = {
    "train m d --lroa": "--lroa",
    "train m d --steps": "--steps",
    "train m d --json": "--json",
    "train m d -x": "-x",
    "trian m d": "trian",
    "plan m d --good": "--good",
    "generate m": "--prompt",
}


@pytest.mark.parametrize("line", BAD)
def test_a_line_that_cannot_be_understood_exits_2(line, capsys):
    assert main(line.split()) == 2
    seen = capsys.readouterr()
    assert BAD[line] in seen.err
    assert seen.out == ""
    assert "Traceback" not in seen.err


def test_two_strategies_for_one_slot_exit_2_before_anything_loads(
    distribute, good_strategy, capsys, tiny_dir, sft_file
):
    distribute("fake-a", good_strategy, {"one": "Good"}, version="1.1")
    distribute("fake-b", good_strategy, {"other": "Good"}, version="2.2")

    assert main(["train", str(tiny_dir), str(sft_file), "--one", "--other"]) == 2
    seen = capsys.readouterr().err
    assert "one (from fake-a 1.1)" in seen
    assert "other (from fake-b 2.2)" in seen


def test_a_selected_plugin_that_does_not_import_exits_4(distribute, capsys):
    distribute("fake-a", "import no_such_module", {"broken": "Good"})
    assert main(["train", "m", "d", "--broken"]) == 4
    assert "no_such_module" in capsys.readouterr().err


def test_what_refuses_a_run_is_told_once(tiny_dir, tmp_path, capsys):
    line = ["train", str(tiny_dir), str(tmp_path / "nope.jsonl"), "--steps", "1", "-o"]

    assert main([*line, str(tmp_path / "run")]) == 3

    said = capsys.readouterr().err
    assert "Plan for" in said
    assert said.count("file not found") == 1
