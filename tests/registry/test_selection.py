"""One answer to each slot, in the order of the command line, or a refusal that names both."""

from __future__ import annotations

import pytest

from anima_core.errors import SetupError, UsageError
from anima_core.hookspecs import HOOKS, SLOTS
from anima_core.registry.selection import select

STACK = """
import anima_core

def Told(name):
    from transformers import TrainerCallback
    return type(name, (TrainerCallback,), {})()

class Good:
    api = anima_core.HOOK_API
    summary = "A stack made for a test."
    slots = ()
    requires = ()
    conflicts = ()
    Options = anima_core.NoOptions

    def __init__(self, options):
        pass

    @anima_core.hookimpl
    def callbacks(self, run):
        return [Told(NAME)]

    @anima_core.hookimpl
    def configure_model(self, run, config):
        config.append(NAME)
"""


def stack(name, extra=""):
    return STACK.replace("NAME", repr(name)) + extra


def test_without_a_word_the_core_answers_every_slot():
    selection = select({})

    assert {slot: p.strategy for slot, p in selection.providers.items()} == {
        slot: HOOKS[slot].default for slot in SLOTS
    }
    assert list(selection.providers) == list(SLOTS)
    assert all(p.default and p.distribution == "anima-adapt" for p in selection.members)
    assert selection.named == {}


def test_a_named_strategy_answers_in_the_defaults_place(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"good": "Good"}, version="1.2")

    selection = select({"good": {"beta": 0.25}})
    provider = selection.providers["loss"]

    assert (provider.strategy, provider.distribution, provider.version) == ("good", "fake-a", "1.2")
    assert not provider.default
    assert next(iter(selection.strategies)) == "good"
    assert "sft" not in selection.strategies
    assert selection.named["good"].beta == 0.25
    loss = selection.call("loss", run="RUN")
    assert (loss.run, loss.options) == ("RUN", selection.strategies["good"])


def test_two_answers_to_one_slot_are_refused_naming_both(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"one": "Good"}, version="1.1")
    distribute("fake-b", good_strategy, {"other": "Good"}, version="2.2")

    with pytest.raises(UsageError) as raised:
        select({"one": {}, "other": {}})
    for part in ("one (from fake-a 1.1)", "other (from fake-b 2.2)", "`loss`"):
        assert part in raised.value.what
    assert raised.value.exit_code == 2


def test_a_default_that_is_named_clashes_like_any_other(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"one": "Good"})
    with pytest.raises(UsageError, match=r"one .* and sft .* both answer"):
        select({"one": {}, "sft": {}})


def test_one_strategy_may_answer_two_slots(distribute, good_strategy):
    two = good_strategy.replace('("loss",)', '("loss", "optimizer")') + (
        "    @anima_core.hookimpl\n    def optimizer(self, run, groups):\n        return groups\n"
    )
    distribute("fake-a", two, {"two": "Good"})

    selection = select({"two": {}})

    assert selection.providers["loss"] is selection.providers["optimizer"]
    assert not {"sft", "adamw"} & set(selection.strategies)


def test_a_name_of_two_distributions_is_selected_by_both_names(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"twice": "Good"})
    distribute("fake-b", good_strategy, {"twice": "Good"})

    with pytest.raises(UsageError, match="2 distributions"):
        select({"twice": {}})
    selection = select({"fake-b:twice": {}})

    assert selection.providers["loss"].distribution == "fake-b"
    assert list(selection.named) == ["fake-b:twice"]
    assert "twice" in selection.strategies
    with pytest.raises(UsageError, match="twice"):
        select({"fake-a:twice": {}, "fake-b:twice": {}})


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_stacks_follow_the_command_line(distribute, order):
    distribute("fake-b", stack("first"), {"first": "Good"})
    distribute("fake-a", stack("second"), {"second": "Good"})
    config: list[str] = []

    selection = select({name: {} for name in order})
    answers = selection.call_stack("configure_model", run=None, config=config)

    assert config == list(order)
    assert [(p.strategy, answer) for p, answer in answers] == [(name, None) for name in order]
    assert [p.strategy for p in selection.stack("configure_model")] == list(order)
    told = [[type(c).__name__ for c in a] for _, a in selection.call_stack("callbacks", run=None)]
    assert told == [[name] for name in order]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("None", "`loss` answered None, where a loss"),
        ("7", "`loss` answered 7, where a loss"),
        ("1 / 0", "`loss` failed: ZeroDivisionError"),
        ("exit(0)", "`loss` failed: SystemExit"),
    ],
)
def test_a_slot_that_gives_nothing_names_its_strategy(distribute, good_strategy, answer, words):
    source = good_strategy.replace("Total(run, self.options)", answer)
    distribute("fake-a", source, {"bad": "Good"}, version="3.4")

    with pytest.raises(SetupError) as raised:
        select({"bad": {}}).call("loss", run=None)
    assert words in raised.value.what
    assert raised.value.where == "bad (from fake-a 3.4)"
    assert "--no-plugin fake-a" in raised.value.fix
    assert isinstance(raised.value.__cause__, ZeroDivisionError) is (answer == "1 / 0")


def test_an_error_for_the_user_passes_as_it_is(distribute, good_strategy):
    raising = 'raise anima_core.DataError("bad row", where="f:3")'
    source = good_strategy.replace("return Total(run, self.options)", raising)
    distribute("fake-a", source, {"bad": "Good"})

    from anima_core.errors import DataError

    with pytest.raises(DataError, match="f:3: bad row"):
        select({"bad": {}}).call("loss", run=None)


def test_requires_and_conflicts(distribute):
    needs = stack("needs").replace("requires = ()", 'requires = ("hates",)')
    hates = stack("hates").replace("conflicts = ()", 'conflicts = ("plain", "friend")')
    distribute("fake-a", needs, {"needs": "Good"}, version="1.5")
    distribute("fake-b", hates, {"hates": "Good"})

    with pytest.raises(UsageError, match=r"needs \(from fake-a 1.5\) needs the strategy") as raised:
        select({"needs": {}})
    assert raised.value.fix == "add --hates (from fake-b 1.0)"
    with pytest.raises(UsageError, match="cannot run beside plain"):
        select({"needs": {}, "hates": {}})


OPTIONS = [
    ({"bta": 1}, "--good.bta", "no such option", "did you mean --good.beta?"),
    ({"beta": "x"}, "--good.beta", "'x' is not valid: expected a valid number", ""),
    ({"beta": -1}, "--good.beta", "-1 is not valid: expected greater than 0", ""),
    ({"bits": "5"}, "--good.bits", "'5' is not valid: expected 4 or 8", ""),
]


@pytest.mark.parametrize(("given", "where", "what", "fix"), OPTIONS)
def test_a_bad_option_is_told_in_the_command_lines_words(
    distribute, good_strategy, given, where, what, fix
):
    distribute("fake-a", good_strategy, {"good": "Good"})

    with pytest.raises(UsageError) as raised:
        select({"good": given})
    assert (raised.value.where, raised.value.what, raised.value.fix) == (where, what, fix)


def test_every_bad_option_is_told_at_once(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"good": "Good"})
    with pytest.raises(UsageError, match=r"--good\.bits") as raised:
        select({"good": {"beta": 0, "bits": 3}})
    assert "--good.beta" in raised.value.where


def test_text_is_read_by_the_options_type(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"good": "Good"})

    options = select({"good": {"bits": "8", "beta": "2e-1", "names": ["a"]}}).strategies["good"]

    assert (options.bits, options.beta, options.names) == (8, 0.2, ("a",))


def test_an_optional_class_attribute_has_a_default(distribute, good_strategy):
    source = good_strategy.replace("slots =", "learning_rate = 3e-4\n    slots =")
    distribute("fake-a", source, {"good": "Good"})

    selection = select({"good": {}})

    assert selection.cls_attribute("loss", "learning_rate", 1.0) == 3e-4
    assert selection.cls_attribute("loss", "other", 1.0) == 1.0


def test_a_class_that_cannot_be_built_is_named(distribute, good_strategy):
    distribute("fake-a", good_strategy.replace("self.options = options", "1 / 0"), {"bad": "Good"})
    with pytest.raises(SetupError, match="cannot be built: ZeroDivisionError"):
        select({"bad": {}})
