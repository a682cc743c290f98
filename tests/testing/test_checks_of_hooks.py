"""The checks of what hooks answer, and of what they leave alone."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from unittest import SkipTest

import pytest
import torch
import transformers

from anima_core import LossOutput, NoOptions, Problem, Record, SetupError, UsageError, hookimpl
from anima_core.registry.load import load_strategy
from anima_core.registry.offers import offers
from anima_core.testing import check_answers, check_globals


class Base:
    api = 1
    summary = "A strategy of a test."
    slots = requires = conflicts = ()
    Options = NoOptions

    def __init__(self, options=None):
        self.options = options


def having(**hooks):
    """An instance with hooks of these names."""
    return type("Mine", (Base,), {name: hookimpl(function) for name, function in hooks.items()})()


@pytest.mark.parametrize("name", ["dpo", "full", "sdpa", "files", "rope-scaling"])
def test_bundled_ones_pass(name):
    (offer,) = [offer for offer in offers() if offer.name == name]
    strategy = load_strategy(offer)
    check_answers(strategy(strategy.Options()))
    check_globals(strategy(strategy.Options()))


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        ({"loss": lambda self: "a loss"}, "`loss` answered"),
        ({"attention": lambda self: "sdpa"}, "`attention` answered"),
        ({"optimizer": lambda self, run, groups: groups}, "`optimizer` answered"),
        ({"estimate_memory": lambda self: {"weights": 1.5}}, "`estimate_memory` answered"),
        ({"validate": lambda self: None}, "`validate` answered None"),
        ({"callbacks": lambda self: [print]}, "`callbacks` answered"),
        ({"configure_model": lambda self, config: config}, "`configure_model` answered"),
        ({"read_data": lambda self, sources: [{"prompt": "a"}]}, "`read_data` gave"),
        ({"read_data": lambda self, sources: 7}, "`read_data` answered"),
        ({"adapt_model": lambda self, model: model}, "`adapt_model` answered"),
        ({"load_model": lambda self, run: run}, "`load_model` answered"),
        ({"patch_model": lambda self, model: None}, "`patch_model` answered"),
        ({"diagnose": lambda self: ["fine"]}, "`diagnose` answered"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_answer_is_named(hooks, said):
    with pytest.raises(AssertionError, match=said):
        check_answers(having(**hooks))


def refuses(self, run):
    raise UsageError("not today")


def lacks(self, run):
    raise SetupError("no package `nowhere`")


def test_a_refusal_that_validate_did_not_foresee_is_a_defect():
    with pytest.raises(AssertionError, match="`token_logps` failed: not today"):
        check_answers(having(token_logps=refuses))


def test_what_is_missing_or_refused_beforehand_is_skipped():
    with pytest.raises(SkipTest, match="no package `nowhere`"):
        check_answers(having(token_logps=lacks))
    problem = Problem("--mine", "this machine has no such device")
    with pytest.raises(SkipTest, match="this machine has no such device"):
        check_globals(having(token_logps=refuses, validate=lambda self: [problem]))
    note = Problem("--mine", "slow here", level="warning")
    with pytest.raises(AssertionError, match="failed: not today"):
        check_globals(having(token_logps=refuses, validate=lambda self: [note]))


def replaces_a_function(self, run):
    torch.nn.functional.silu = lambda x, inplace=False: x
    return []


def replaces_a_method(self, run, model):
    from transformers.models.llama import modeling_llama

    modeling_llama.LlamaMLP.forward = lambda self, x: x
    return {}


def replaces_a_class(self, run):
    transformers.modeling_utils.PreTrainedModel = dict
    return []


@contextmanager
def while_entered():
    original = torch.nn.functional.softmax
    torch.nn.functional.softmax = partial(original)
    try:
        yield
    finally:
        torch.nn.functional.softmax = original


class PatchingLoss:
    """Replaces a function when it is called, rather than when it is made."""

    data, scope, needs, uses_reference = "completion", "example", "logps", False

    def denominators(self, batch):
        return {"nll": 1.0}

    def __call__(self, batch, logps, reference=None):
        torch.nn.functional.cross_entropy = max
        return LossOutput({"nll": -logps.sum()})


def reads_and_replaces(self, sources):
    torch.nn.functional.gelu = min
    yield Record({"prompt": "a", "completion": "b"}, sources[0], 1)


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        ({"callbacks": replaces_a_function}, r"`callbacks` replaced torch\.nn\.functional\.silu"),
        ({"adapt_model": replaces_a_method}, r"`adapt_model` replaced .*LlamaMLP\.forward"),
        ({"validate": replaces_a_class}, r"replaced .*modeling_utils\.PreTrainedModel"),
        ({"patch_model": lambda self, model: while_entered()}, r"functional\.softmax while it is"),
        ({"loss": lambda self: PatchingLoss()}, r"`loss` replaced .*cross_entropy"),
        ({"read_data": reads_and_replaces}, r"`read_data` replaced .*gelu"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_replaced_is_named_and_put_back(hooks, said):
    functional = torch.nn.functional
    names = ("silu", "softmax", "cross_entropy", "gelu")
    before = [getattr(functional, name) for name in names]
    with pytest.raises(AssertionError, match=said):
        check_globals(having(**hooks))
    assert [getattr(functional, name) for name in names] == before
    assert transformers.modeling_utils.PreTrainedModel is transformers.PreTrainedModel
