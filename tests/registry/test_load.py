"""A class that breaks a rule is refused at the door, with its origin and the reason."""

from __future__ import annotations

import sys

import pytest

from anima_core.errors import SetupError
from anima_core.registry.load import load_strategy
from anima_core.registry.offers import offers
from anima_core.version import __version__


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
    "does not import: ZeroDivisionError: division by zero": (
        "import anima_core\n",
        "1 / 0\nimport anima_core\n",
    ),
    "built for hook API 99; this Anima 0.": ("api = anima_core.HOOK_API", "api = 99"),
    "built for hook API None": ("    api = anima_core.HOOK_API\n", ""),
    "built for hook API True": ("api = anima_core.HOOK_API", "api = True"),
    "`summary` is not a sentence": ('"A loss made for a test."', '""'),
    "`requires` is not a tuple of names but 'lora'": ("requires = ()", 'requires = "lora"'),
    "`Options` is not a pydantic model": ("    Options = Options\n", "    Options = dict\n"),
    "does not refuse unknown keys": (
        "class Options(anima_core.Options):",
        "import pydantic\nclass Options(pydantic.BaseModel):",
    ),
    "its option `beta` has no description": (', description="Strength."', ""),
    "its option `Beta` is not in snake_case": ("beta: float", "Beta: float"),
    "its option `beta` has a default that is not valid": ("default=0.5", "default=0"),
    "its `Options` cannot be built": ("beta: float", "beta: 'Nonsense'"),
    "declares the slot `optimizer` but has no hookimpl": ('("loss",)', '("loss", "optimizer")'),
    "implements the slot `loss` but does not declare it": ('slots = ("loss",)', "slots = ()"),
    "there is no hook `los`; did you mean loss?": ("def loss(", "def los("),
    "named like a hook but not marked": ("    @anima_core.hookimpl\n", ""),
    "the parameter `run` of its hookimpl `loss` has a default": ("self, run)", "self, run=None)"),
    "has a parameter `context`; the hook has run": ("self, run)", "self, context)"),
    "takes **run; name the parameters": ("self, run)", "self, **run)"),
    "is async; hooks are called, not awaited": ("def loss(", "async def loss("),
    "declares `los`, which is no slot; did you mean loss?": ('("loss",)', '("loss", "los")'),
    "its `learning_rate` is not a positive number": ("slots =", "learning_rate = 0\n    slots ="),
    "its `trains_base` means something on a strategy that answers `adapt_model` only": (
        "slots =",
        "trains_base = True\n    slots =",
    ),
    "its `gives` is not a tuple of logps and topk but 'topk'": (
        "slots =",
        "gives = 'topk'\n    slots =",
    ),
    "its `hardware` is not one line of text but 7": ("slots =", "hardware = 7\n    slots ="),
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


def test_everything_that_is_wrong_is_told_at_once(load, good_strategy):
    source = good_strategy.replace("requires = ()", "requires = 'lora'")
    source = source.replace("self, run)", "self, run=None)").replace("default=0.5", "default=0")

    with pytest.raises(SetupError) as raised:
        load(source)

    for part in ("`requires`", "the parameter `run`", "option `beta`"):
        assert part in raised.value.what


def test_a_later_hook_api_says_what_to_do(load, good_strategy):
    source = good_strategy.replace("anima_core.HOOK_API", "7").replace("def loss(", "def fuss(")

    with pytest.raises(SetupError) as raised:
        load(source)

    assert raised.value.what == f"it is built for hook API 7; this Anima {__version__} speaks 1"
    for part in ("upgrade Anima", "an older fake-dist", "--no-plugin fake-dist"):
        assert part in raised.value.fix


def test_what_an_import_prints_is_kept_off_standard_output(load, good_strategy, capsys):
    load("print('thank you for choosing us')\n" + good_strategy)
    out, err = capsys.readouterr()
    assert out == ""
    assert "thank you" in err


def test_an_import_that_changes_what_all_share_is_refused_each_time(distribute, good_strategy):
    from torch.nn import functional

    was = functional.gelu
    patching = "from torch.nn import functional\nfunctional.gelu = lambda x: x\n"
    distribute("fake-dist", patching + good_strategy, {"fake": "Good", "other": "Good"}, "7.8")
    mine = [o for o in offers() if o.distribution == "fake-dist"]

    for offer in mine:
        with pytest.raises(
            SetupError, match=r"import replaced torch\.nn\.functional\.gelu"
        ) as raised:
            load_strategy(offer)
        assert raised.value.where == f"{offer.name} (from fake-dist 7.8)"
    assert len(mine) == 2
    assert functional.gelu is was


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
