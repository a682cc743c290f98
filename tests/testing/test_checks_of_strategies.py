"""The checks of strategy classes and of import budgets, and the context they are given."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from anima_core import NoOptions, Options, RunContext, hookimpl
from anima_core.testing import check_import_budget, check_strategy, run_context


class Sound:
    api = 1
    summary = "Does nothing, soundly"
    slots = ("loss",)
    requires = ()
    conflicts = ()
    learning_rate = 1e-4
    Options = NoOptions

    def __init__(self, options):
        self.options = options

    @hookimpl
    def loss(self, run):
        raise NotImplementedError

    @hookimpl
    def diagnose(self):
        return []

    def helper(self, anything=1):
        return anything


def test_a_sound_strategy_passes():
    check_strategy(Sound)


class Described(Options):
    rate: float = Field(default=0.5, gt=0, description="A rate, per step.")


class Undescribed(Options):
    rate: float = 0.5


class LetsAnythingIn(BaseModel):
    rate: float = Field(default=0.5, description="A rate, per step.")


class BadDefault(Options):
    rate: float = Field(default=-1.0, gt=0, description="A rate, per step.")


class Needed(Options):
    path: str = Field(description="A path.")


class CamelCase(Options):
    rateOf: float = Field(default=1.0, description="A rate.")


@pytest.mark.parametrize("options", [Described, Needed])
def test_options_that_are_sound_pass(options):
    check_strategy(type("Own", (Sound,), {"Options": options}))


def unmarked(self, run):
    return None


@hookimpl
def with_default(self, run=None):
    return None


@hookimpl
def misnamed(self, context):
    return None


@hookimpl
def keyword_only(self, *, run):
    return None


@hookimpl
def takes_anything(self, **kwargs):
    return None


@hookimpl
def right(self, run):
    return None


@hookimpl(tryfirst=True)
def ordered(self, run):
    return None


@hookimpl
def with_typo(self, rum):
    return None


def needs_more(self, options, more):
    return None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"api": 99}, "hook API 99"),
        ({"api": None}, "hook API None"),
        ({"summary": ""}, "`summary` is not a sentence"),
        ({"summary": "two\nlines"}, "`summary` is not a sentence"),
        ({"slots": ["loss"]}, r"`slots` is not a tuple of names but \['loss'\]"),
        ({"requires": "lora"}, "`requires` is not a tuple"),
        ({"conflicts": None}, "`conflicts` is not a tuple"),
        ({"Options": dict}, "not a pydantic model"),
        ({"Options": Undescribed}, "`rate` has no description"),
        ({"Options": LetsAnythingIn}, "does not refuse unknown keys"),
        ({"Options": BadDefault}, "`rate` has a default that is not valid"),
        ({"Options": CamelCase}, "not in snake_case"),
        ({"__init__": lambda self: None}, "cannot be built from its options"),
        ({"__init__": needs_more}, "cannot be built from its options"),
        ({"validate": unmarked}, "not marked with @hookimpl"),
        ({"validate": with_default}, "has a default"),
        ({"validate": misnamed}, "`context`; the hook has run"),
        ({"validate": with_typo}, "`rum`; the hook has run"),
        ({"validate": keyword_only}, "name the parameters"),
        ({"validate": takes_anything}, "name the parameters"),
        ({"validate": ordered}, "sets tryfirst"),
        ({"token_logp": right}, "no hook `token_logp`; did you mean token_logps"),
        ({"token_logps": right}, "does not declare it in `slots`"),
        ({"slots": ("loss", "optimizer")}, "slot `optimizer` but has no hookimpl"),
        ({"slots": ("loss", "losses")}, "`losses`, which is no slot"),
        ({"learning_rate": -1}, "`learning_rate` is not a positive number"),
        ({"learning_rate_scale": 10.0}, "answers `adapt_model` only"),
        ({"trains_base": True}, "answers `adapt_model` only"),
        ({"loads_quantized": "yes"}, "not a bool"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_the_defect_is_named(changes, said):
    with pytest.raises(AssertionError, match=said):
        check_strategy(type("Broken", (Sound,), changes))


def test_all_defects_are_named_together():
    with pytest.raises(AssertionError) as caught:
        check_strategy(type("Broken", (Sound,), {"api": 0, "summary": "", "Options": Undescribed}))
    assert [word in str(caught.value) for word in ("API 0", "summary", "rate")] == [True] * 3


def test_a_class_without_a_hook_is_nothing():
    class Empty:
        api = 1
        summary = "Empty"
        slots = requires = conflicts = ()
        Options = NoOptions

        def __init__(self, options): ...

    with pytest.raises(AssertionError, match="implements no hook"):
        check_strategy(Empty)


def test_a_function_is_no_strategy():
    with pytest.raises(AssertionError, match="not a class"):
        check_strategy(right)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a module that a fresh interpreter can import."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def test_a_light_module_passes(written):
    check_import_budget(written("light", "import json\ndef late():\n    import torch\n"))
    check_import_budget("anima_core.testing")


def test_an_import_over_budget_is_named_with_its_line(written):
    written("colorsys_user", "import json\n\nimport colorsys\n")
    name = written("heavy", "import colorsys_user\n")
    check_import_budget(name)
    with pytest.raises(AssertionError, match=r"imports colorsys .*colorsys_user\.py:3"):
        check_import_budget(name, forbidden=("colorsys", "torch"))


def test_a_real_heavy_import_is_found(written):
    with pytest.raises(AssertionError, match=r"imports torch .*heavier\.py:1"):
        check_import_budget(written("heavier", "import torch\n"))


def test_a_guarded_import_that_fails_costs_nothing(written):
    text = "try:\n    import no_such_module\nexcept ImportError:\n    pass\n"
    check_import_budget(written("guarded", text), forbidden=("no_such_module",))


def test_a_module_that_prints_is_read_all_the_same(written):
    check_import_budget(written("chatty", "print('hello')\n"))


def test_a_module_that_does_not_import_says_why(written):
    with pytest.raises(AssertionError, match=r"broken cannot be imported: .*'nowhere_at_all'"):
        check_import_budget(written("broken", "import nowhere_at_all\n"))


def test_the_context_is_resolved():
    run = run_context()
    assert isinstance(run, RunContext)
    assert (run.device, run.dtype, run.weights_dtype) == ("cpu", "float32", "float32")
    assert run.config.learning_rate == 1e-3
    assert run.model_config.model_type == "llama"


def test_the_context_takes_core_options_and_the_rest():
    run = run_context(
        dtype="bfloat16",
        weights_dtype="float32",
        learning_rate=0.5,
        strategies={"own": Described()},
        rank=1,
        world=2,
    )
    assert (run.dtype, run.weights_dtype, run.config.learning_rate) == ("bfloat16", "float32", 0.5)
    assert run.strategies["own"] == Described()
    assert (run.rank, run.world) == (1, 2)
    with pytest.raises(ValueError, match="no_such_option"):
        run_context(no_such_option=1)
