"""A class that breaks a rule is refused at the door, with its origin and the reason."""

from __future__ import annotations

import sys

import pytest

from anima_core.errors import SetupError
from anima_core.registry.load import load_strategy
from anima_core.registry.offers import offers


@pytest.fixture
def load(distribute):
    def load(source):
        distribute("fake-dist", source, {"fake": "Good"}, version="7.8")
        (offer,) = [o for o in offers() if o.name == "fake"]
        return load_strategy(offer)

    return load


def test_a_fit_class_is_loaded(load, good_strategy):
    assert load(good_strategy).slots == ("loss",)


BROKEN = {
    "does not import: ModuleNotFoundError: No module named 'no_such_module'": (
        "import anima_core\n",
        "import no_such_module\nimport anima_core\n",
    ),
    "does not import: SystemExit": ("import anima_core\n", "raise SystemExit(3)\n"),
    "does not import: AttributeError": ("class Good", "class Misnamed"),
    "built for hook API 99": ("api = anima_core.HOOK_API", "api = 99"),
    "built for hook API None": ("    api = anima_core.HOOK_API\n", ""),
    "`summary` is not a sentence": ('"A loss made for a test."', '""'),
    "`requires` is not a tuple of names but 'lora'": ("requires = ()", 'requires = "lora"'),
    "`Options` is not a pydantic model": ("    Options = Options\n", "    Options = dict\n"),
    "does not refuse unknown keys": (
        "class Options(anima_core.Options):",
        "import pydantic\nclass Options(pydantic.BaseModel):",
    ),
    "its option `beta` has no description": (', description="Strength."', ""),
    "its `Options` cannot be built": ("beta: float", "beta: 'Nonsense'"),
    "declares the slot `optimizer` but has no hookimpl": ('("loss",)', '("loss", "optimizer")'),
    "implements the slot `loss` but does not declare it": ('slots = ("loss",)', "slots = ()"),
    "there is no hook `los`; did you mean loss?": ("def loss(", "def los("),
    "named like a hook but not marked": ("    @anima_core.hookimpl\n", ""),
    "the parameter `run` of its hookimpl `loss` has a default": ("self, run)", "self, run=None)"),
    "has a parameter `context`; the hook has run": ("self, run)", "self, context)"),
    "takes **run; name the parameters": ("self, run)", "self, **run)"),
    "sets trylast, which is not used here": ("hookimpl\n", "hookimpl(trylast=True)\n"),
    "sets wrapper": ("hookimpl\n", "hookimpl(wrapper=True)\n"),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_class_that_breaks_a_rule_is_refused(load, good_strategy, reason):
    old, new = BROKEN[reason]
    assert old in good_strategy

    with pytest.raises(SetupError) as raised:
        load(good_strategy.replace(old, new))

    assert reason in raised.value.what
    assert raised.value.where == "fake (from fake-dist 7.8)"


def test_what_an_import_raised_is_chained(load):
    with pytest.raises(SetupError) as raised:
        load("1 / 0")
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert "--no-plugin fake-dist" in raised.value.fix


def test_a_hook_may_take_fewer_parameters(load, good_strategy):
    source = good_strategy.replace("self, run)", "self)").replace("run, self", "self")
    assert load(source)


def test_an_inherited_hook_counts(load, good_strategy):
    assert load(good_strategy.replace("class Good:", "class Base:") + "\nclass Good(Base): pass\n")


def test_loading_imports_no_torch(distribute, good_strategy):
    import subprocess

    folder = distribute("fake-dist", good_strategy, {"fake": "Good"})
    code = (
        "import sys; from anima_core.registry.load import load_strategy\n"
        "from anima_core.registry.offers import offers\n"
        "[load_strategy(o) for o in offers() if o.name == 'fake']\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(folder)})
