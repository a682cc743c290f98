"""The check by a run: of what is installed and of what is not, alone and in company."""

from __future__ import annotations

import os
import sys
from unittest import SkipTest

import pytest
from pydantic import Field

from anima_core import DataError, LossOutput, Options, Problem, Record, SetupError, hookimpl
from anima_core.registry.load import load_strategy
from anima_core.registry.offers import offers
from anima_core.testing import check_run, write_data
from anima_core.testing.company import companies
from anima_core.testing.installed import bundled, offered


class Nll:
    data, scope, needs, uses_reference = "completion", "example", "logps", False

    def __init__(self, sign=-1.0):
        self.sign = sign

    def denominators(self, batch):
        return {"nll": float(len(batch.targets))}

    def __call__(self, batch, logps, reference=None):
        return LossOutput({"nll": self.sign * logps.sum()})


class SignOptions(Options):
    sign: float = Field(default=-1.0, description="The loss's sign.")


class Mine:
    """A sound loss, of a class that no distribution offers."""

    api = 1
    summary = "A loss of a test."
    slots = ("loss",)
    requires = conflicts = ()
    Options = SignOptions

    def __init__(self, options):
        self.options = options

    @hookimpl
    def loss(self):
        return Nll(self.options.sign)


def test_a_class_that_is_not_installed_runs_and_leaves_nothing_behind():
    paths, modules, cache = list(sys.path), set(sys.modules), os.environ.get("ANIMA_CACHE")
    check_run(Mine, "mine")
    check_run(Mine, "mine", SignOptions(sign=-0.5), beside=("lora", "xentropy"))
    assert sys.path == paths
    assert not {name for name in set(sys.modules) - modules if "under_check" in name}
    assert os.environ.get("ANIMA_CACHE") == cache
    assert "mine" not in {offer.name for offer in offers()}


def test_an_installed_one_is_found_where_it_is(distribute, good_strategy):
    distribute("fake-a", good_strategy, {"good": "Good"})
    distribute("fake-b", good_strategy, {"good": "Good"})
    first, second = (o for o in offers() if o.name == "good")
    for offer in (first, second):
        with offered(offer.entry_point.load(), "good") as reference:
            assert reference == offer.reference
    with offered(Mine, "good") as reference:
        assert "under-check" in reference
        assert [o.entry_point.load() is Mine for o in offers() if o.name == "good"].count(True) == 1


def variant(**changes):
    return type("Mine", (Mine,), changes)


class NotFinite(Nll):
    def __call__(self, batch, logps, reference=None):
        return LossOutput({"nll": logps.sum() * float("nan")})


class Constant(Nll):
    def __call__(self, batch, logps, reference=None):
        return LossOutput({"nll": logps.sum() * 0.0})


class Crashing(Nll):
    def __call__(self, batch, logps, reference=None):
        raise RuntimeError("no such kernel")


@pytest.mark.parametrize(
    ("loss", "said"),
    [(NotFinite, "not finite|nan"), (Constant, "no gradient at step 1")],
)
def test_a_run_that_comes_to_nothing_fails(loss, said):
    with pytest.raises(AssertionError, match=said):
        check_run(variant(loss=hookimpl(lambda self: loss())), "mine")


def test_a_failure_of_the_plugin_is_a_failure_of_the_check():
    with pytest.raises((AssertionError, RuntimeError), match="no such kernel"):
        check_run(variant(loss=hookimpl(lambda self: Crashing())), "mine")


@pytest.mark.parametrize("beside", [(), ("xentropy",)])
def test_a_hook_that_raises_is_no_package_that_is_missing(beside):
    def raising(kind):
        def loss(self, run):
            raise kind("no such thing")

        return variant(loss=hookimpl(loss))

    with pytest.raises(AssertionError, match="no such thing"):
        check_run(raising(TypeError), "mine", beside=beside)
    with pytest.raises(SkipTest, match="something is missing: no such thing"):
        check_run(raising(SetupError), "mine", beside=beside)


def test_a_kernel_that_goes_wrong_in_training_fails():
    def kernel(hidden, head, target):
        return (hidden @ head.weight.T).log_softmax(dim=-1)  # of every token, not of the targets

    broken = variant(slots=("token_logps",), loss=None, token_logps=hookimpl(lambda self: kernel))
    with pytest.raises(AssertionError, match="its kernel returned"):
        check_run(broken, "mine")


def test_what_it_refuses_beforehand_is_skipped():
    problems = [Problem("--mine", "it wants a GPU")]
    refusing = variant(validate=hookimpl(lambda self, run: problems))
    with pytest.raises(SkipTest, match="it wants a GPU"):
        check_run(refusing, "mine")


@hookimpl
def one_segment(self):
    from anima_core import Attention

    return Attention("eager", shared_prefix=False)


def test_company_that_it_refuses_is_skipped_and_alone_it_is_a_failure():
    refusing = variant(slots=("attention",), loss=None, attention=one_segment)
    with pytest.raises(SkipTest, match=r"refused in this company: .*shared by two answers"):
        check_run(refusing, "mine", beside=("dpo",))
    conflicting = variant(requires=("nobody-offers-this",))
    with pytest.raises(AssertionError, match="nobody-offers-this"):
        check_run(conflicting, "mine")


@hookimpl
def reads_words(self, sources):
    for source in sources:
        if not source.endswith(".words"):
            raise DataError("no file of words", where=source)
        yield from (Record({"prompt": "a", "completion": "b"}, source, n) for n in range(1, 9))


def test_a_reader_of_something_else_is_given_that(tmp_path):
    reader = variant(slots=("read_data",), loss=None, read_data=reads_words)
    with pytest.raises(SkipTest, match="does not read this data"):
        check_run(reader, "mine")
    path = tmp_path / "some.words"
    path.touch()
    check_run(reader, "mine", data=[str(path)])
    bad = write_data(tmp_path / "pairs.jsonl", "preference")
    with pytest.raises(AssertionError, match="the run failed"):
        check_run(Mine, "mine", data=[str(bad)])


def names(cls, name="mine"):
    return [str(company) for company in companies(cls, name)]


def test_the_company_of_a_strategy_is_every_bundled_one_that_it_can_run_beside():
    assert bundled() == {
        "anima-adapt", "anima-adapt-qlora", "anima-adapt-dpo", "anima-adapt-longctx"
    }  # fmt: skip
    beside = ["flash-attention-2", "lora", "paged-adamw", "qlora", "rope-scaling", "xentropy"]
    assert names(Mine) == ["run", *(f"run beside {other}" for other in beside)]
    assert "run beside lora" not in names(variant(conflicts=("lora",)))
    assert "run beside qlora" not in names(variant(slots=("loss", "load_model")))


def test_what_is_required_comes_too():
    requiring = variant(slots=("token_logps",), requires=("dpo",))
    assert "run beside dpo" in names(requiring)
    assert "run beside lora and dpo" in names(requiring)
    (alone, *_) = companies(requiring, "mine")
    assert alone.others == ("dpo",)
    lonely = variant(requires=("somebody-elses",))
    assert {c.skip for c in companies(lonely, "mine")} == {
        "it requires `somebody-elses`, which is not bundled"
    }


def test_quantised_weights_get_an_adapter():
    loader = variant(slots=("load_model",), loads_quantized=True)
    found = companies(loader, "mine")
    assert found[0].others == ("lora",)
    assert all("lora" in company.others for company in found)
    adapting = variant(slots=("load_model", "adapt_model"), loads_quantized=True)
    assert companies(adapting, "mine")[0].others == ()


def test_a_bundled_one_has_the_others_for_company():
    (offer,) = [o for o in offers() if o.name == "dpo"]
    assert "run beside dpo" not in names(load_strategy(offer), "dpo")
