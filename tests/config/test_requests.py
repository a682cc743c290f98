"""The command line goes over a run file, and faults are told in the command line's words."""

from __future__ import annotations

import pytest

from anima_core.config.requests import core_options, merge
from anima_core.config.run_file import read_run_file
from anima_core.errors import UsageError
from anima_core.runs.request import RunRequest


def request(strategies=None, **core):
    return RunRequest(core=core, strategies=strategies or {})


def test_an_option_of_the_command_line_wins():
    merged = merge(request(model="a", steps=3, data=["x", "y"]), request(steps=5, data=["z"]))
    assert merged.core == {"model": "a", "steps": 5, "data": ["z"]}


def test_epochs_on_the_command_line_replace_steps_of_the_file():
    merged = core_options(merge(request(model="a", steps=3, epochs=1.0), request(epochs="2")))
    assert (merged.steps, merged.epochs) == (None, 2.0)
    both = core_options(merge(request(model="a", steps=3), request(epochs="2", steps="7")))
    assert both.steps == 7


def test_options_of_one_strategy_are_put_together():
    merged = merge(request({"good": {"beta": 1, "bits": 4}}), request({"good": {"beta": 2}}))
    assert merged.strategies == {"good": {"beta": 2, "bits": 4}}


def test_a_strategy_for_the_same_slot_replaces_the_files(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"one": "Good", "other": "Good"})
    base = request({"one": {"beta": 1}, "adamw": {}})

    assert merge(base, request({"other": {}})).strategies == {"adamw": {}, "other": {}}
    assert merge(base, request({"sft": {}})).strategies == {"adamw": {}, "sft": {}}
    assert list(merge(base, request({"plain": {}})).strategies) == ["one", "adamw", "plain"]


def test_two_on_the_command_line_do_not_replace_each_other(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"one": "Good", "other": "Good"})
    merged = merge(request({"sft": {}}), request({"one": {}, "other": {}}))
    assert list(merged.strategies) == ["one", "other"]


def test_another_distributions_strategy_of_that_name_replaces_the_files(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"twice": "Good"})
    distribute("fake-b", good_strategy, {"twice": "Good"})
    base = request({"fake-a:twice": {"beta": 1}})

    assert merge(base, request({"twice": {"bits": 8}})).strategies == {
        "fake-a:twice": {"beta": 1, "bits": 8}
    }
    assert merge(base, request({"fake-b:twice": {}})).strategies == {"fake-b:twice": {}}


def test_neither_request_is_changed():
    base, over = request({"good": {"beta": 1}}, model="a"), request({"good": {"beta": 2}}, seed=1)
    merge(base, over)
    assert base == request({"good": {"beta": 1}}, model="a")
    assert over == request({"good": {"beta": 2}}, seed=1)


FAULTS = [
    ({}, "MODEL", "is missing"),
    ({"model": "m", "batch_size": "0"}, "--batch-size", "expected greater than or equal to 1"),
    ({"model": "m", "dtype": "int8"}, "--dtype", "auto or float32 or bfloat16 or float16"),
    ({"model": "m", "learning_rate": "fast"}, "--learning-rate", "'fast' is not valid"),
    ({"model": "m", "stepz": 3}, "--stepz", "no such option"),
]


@pytest.mark.parametrize(("core", "where", "what"), FAULTS)
def test_a_fault_names_the_flag(core, where, what):
    with pytest.raises(UsageError) as raised:
        core_options(request(**core))
    assert raised.value.where == where
    assert what in raised.value.what
    assert raised.value.exit_code == 2


def test_absent_and_empty_options_take_their_default():
    resolved = core_options(request(model="m", steps=None, seed="7"))
    assert (resolved.steps, resolved.seed, resolved.batch_size) == (None, 7, 16)


def test_options_that_go_with_a_replaced_strategy_are_noted(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"one": "Good", "other": "Good"})
    merged = merge(request({"one": {"beta": 1}}), request({"other": {}, "plain": {}}))
    assert merged.notes == ("one of the run file, with beta 1, gives way to --other",)
    assert merge(request({"one": {}}), request({"other": {}})).notes == ()


def test_a_fault_of_a_run_file_names_its_line(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("model: m\nbatch_size: many\n", encoding="utf-8")
    from_file = read_run_file(file)
    with pytest.raises(UsageError) as caught:
        core_options(from_file)
    assert caught.value.where == f"{file}:2: --batch-size"
    with pytest.raises(UsageError) as caught:
        core_options(merge(from_file, request(batch_size="none at all")))
    assert caught.value.where == "--batch-size"
