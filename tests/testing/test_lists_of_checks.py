"""Which checks a strategy is put to, and the fixtures that a plugin's tests may ask for."""

from __future__ import annotations

import subprocess
import sys
from unittest import SkipTest

import pytest
from pydantic import Field

import anima_core.testing
from anima_core import LossOutput, NoOptions, Options, hookimpl
from anima_core.testing import Check, checks_for

pytest_plugins = ["pytester"]

ALWAYS = ["strategy", "import-budget", "options", "answers", "globals"]


class Nll:
    data, scope, needs, uses_reference = "completion", "example", "logps", False

    def denominators(self, batch):
        return {"nll": float(len(batch.targets))}

    def __call__(self, batch, logps, reference=None):
        return LossOutput({"nll": -logps.sum()})


class Mine:
    api = 1
    summary = "A loss of a test."
    slots = ("loss",)
    requires = conflicts = ()
    Options = NoOptions

    def __init__(self, options):
        self.options = options

    @hookimpl
    def loss(self):
        return Nll()


class Needed(Options):
    path: str = Field(description="A path.")


def names(cls, **kwargs):
    return [str(check) for check in checks_for(cls, "mine", **kwargs)]


def test_hooks_decide_which():
    found = names(Mine)
    assert found[:7] == [*ALWAYS, "loss", "run"]
    assert "run beside lora" in found
    both = type("Both", (Mine,), {"attention": hookimpl(lambda self: None)})
    both.slots = ("loss", "attention")
    found = names(both)
    assert {f"attention[{family}]" for family in anima_core.testing.FAMILIES} < set(found)
    assert "run beside flash-attention-2" not in found


def test_of_an_unsound_class_only_that_is_checked():
    unsound = type("Unsound", (Mine,), {"slots": "loss"})
    assert names(unsound) == ["strategy", "import-budget"]
    with pytest.raises(AssertionError, match="not a tuple"):
        checks_for(unsound, "mine")[0]()


def test_without_an_instance_the_rest_says_why_it_is_skipped():
    needing = type("Needing", (Mine,), {"Options": Needed})
    skipped = {str(check): check.skip for check in checks_for(needing, "mine")}
    assert [name for name, why in skipped.items() if not why] == ALWAYS[:3]
    assert "`path` must be given" in skipped["loss"]
    with pytest.raises(SkipTest, match="`path` must be given"):
        checks_for(needing, "mine")[5]()
    given = checks_for(needing, "mine", Needed(path="a"))
    assert not any(check.skip for check in given)
    next(check for check in given if str(check) == "loss")()


@pytest.mark.parametrize("check", checks_for(Mine, "mine")[2:7], ids=str)
def test_a_sound_strategy_passes(check):
    check()


def test_a_check_that_fails_says_what_was_wrong():
    class Shrinking(Nll):
        def denominators(self, batch):
            return {"nll": 0.0}

    broken = type("Broken", (Mine,), {"loss": hookimpl(lambda self: Shrinking())})
    (check,) = [check for check in checks_for(broken, "mine") if str(check) == "loss"]
    with pytest.raises(AssertionError, match="denominator 'nll' is 0"):
        check()


def test_a_check_is_called_named_and_skipped():
    done = []
    check = Check("one", lambda: done.append(1))
    check()
    assert (done, str(check), check.skip) == ([1], "one", "")
    with pytest.raises(SkipTest, match="no"):
        Check("two", lambda: done.append(2), "no")()
    assert done == [1]


def test_every_public_name_is_there_and_listed():
    for name in anima_core.testing.__all__:
        assert getattr(anima_core.testing, name).__class__.__name__ != "module"
    assert list(anima_core.testing._HOMES) == anima_core.testing.__all__
    checks = {name for name in anima_core.testing.__all__ if name.startswith("check_")}
    assert all(callable(getattr(anima_core.testing, name)) for name in checks)
    with pytest.raises(AttributeError, match="nonsense"):
        anima_core.testing.nonsense  # noqa: B018


def test_listing_checks_loads_neither_torch_nor_pytest():
    code = (
        "import sys; from anima_core.testing import checks_for; "
        "from anima_core.registry.offers import offers; "
        "[checks_for(o.entry_point.load(), o.name) for o in offers() if o.name == 'sft']; "
        "print([m for m in ('torch', 'transformers', 'peft', 'pytest') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


USES_FIXTURES = """
import json
import anima_core

def test_models(tiny_model_dir, make_tiny_model_dir):
    assert (tiny_model_dir / "model.safetensors").exists()
    assert make_tiny_model_dir("llama") == tiny_model_dir
    config = json.loads((make_tiny_model_dir("gpt2") / "config.json").read_text())
    assert config["model_type"] == "gpt2"

def test_data(tiny_sft_data, tiny_preference_data):
    rows = [json.loads(line) for line in tiny_sft_data.read_text().splitlines()]
    assert len(rows) == 8 and set(rows[0]) == {"prompt", "completion"}
    rows = [json.loads(line) for line in tiny_preference_data.read_text().splitlines()]
    assert len(rows) == 8 and set(rows[0]) == {"prompt", "chosen", "rejected"}

def test_context(make_run_context, make_tiny_model_dir, tiny_model_dir, tmp_path):
    run = make_run_context(learning_rate=0.5)
    assert isinstance(run, anima_core.RunContext)
    assert (run.model_dir, run.run_dir) == (tiny_model_dir, tmp_path / "run")
    assert (run.config.learning_rate, run.model_config.model_type) == (0.5, "llama")
    other = make_run_context(model_dir=make_tiny_model_dir("gpt2"))
    assert other.model_config.model_type == "gpt2"

def test_tokenizer(tiny_tokenizer):
    assert tiny_tokenizer.decode(tiny_tokenizer("a b")["input_ids"]) == "a b"

def test_together(tiny_model_dir, tiny_sft_data, tmp_path):
    result = anima_core.adapt(tiny_model_dir, tiny_sft_data, output=tmp_path / "r", steps=1,
                              batch_size=2, dtype="float32")
    assert result.steps == 1
"""


def test_the_fixtures_are_there_for_who_asks(pytester):
    pytester.makeconftest('pytest_plugins = ["anima_core.testing.fixtures"]')
    pytester.makepyfile(USES_FIXTURES)
    pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider").assert_outcomes(passed=5)


def test_nobody_has_them_unasked(pytester):
    pytester.makepyfile("def test_it(tiny_model_dir): ...")
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'tiny_model_dir' not found*"])
