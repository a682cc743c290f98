"""Strategies are tried in another process, and what they do to it is told of them."""

from __future__ import annotations

import sys

import pytest

from anima_core.registry.offers import offers
from anima_core.registry.probing import Job, probe

COLD = sys.executable

HEAD = """
import os, signal, sys, time
from pydantic import Field
import anima_core
from anima_core import hookimpl

class Base:
    api = anima_core.HOOK_API
    summary = "A strategy made for a test."
    slots = ()
    requires = ()
    conflicts = ()
    Options = anima_core.NoOptions

    def __init__(self, options):
        self.options = options
"""

EVERYTHING = (
    HEAD
    + '''
from anima_core.attention.sdpa import Sdpa
from anima_core.data.read import Files
from anima_core.loss.plain import Plain
from anima_core.loss.sft import Sft
from anima_core.model.full import Full
from anima_core.model.load import Safetensors
from anima_core.model.tokenizer import AutoTokenizerStrategy
from anima_core.training.adamw import AdamW

NONE = anima_core.NoOptions()

class Mine(Base):
    """Answers all hooks by the core's own means."""

    slots = (
        "load_tokenizer", "attention", "load_model", "adapt_model", "read_data", "token_logps",
        "loss", "optimizer",
    )

    @hookimpl
    def load_tokenizer(self, run):
        return AutoTokenizerStrategy(NONE).load_tokenizer(run)

    @hookimpl
    def attention(self, run):
        return Sdpa(NONE).attention(run)

    @hookimpl
    def load_model(self, run, config, attention):
        return Safetensors(NONE).load_model(run, config, attention)

    @hookimpl
    def adapt_model(self, run, model):
        return Full(NONE).adapt_model(run, model)

    @hookimpl
    def read_data(self, run, sources):
        return Files(NONE).read_data(run, sources)

    @hookimpl
    def token_logps(self, run):
        return Plain(NONE).token_logps(run)

    @hookimpl
    def loss(self, run):
        return Sft(Sft.Options()).loss(run)

    @hookimpl
    def optimizer(self, run, groups):
        return AdamW(AdamW.Options()).optimizer(run, groups)

    @hookimpl
    def configure_model(self, run, config):
        config.rope_theta = 1.0

    @hookimpl
    def patch_model(self, run, model):
        import contextlib
        return contextlib.nullcontext()

    @hookimpl
    def callbacks(self, run):
        return []

    @hookimpl
    def estimate_memory(self, run, shape):
        return {"weights": shape.parameters}

    @hookimpl
    def validate(self, run):
        return [anima_core.Problem("--mine", "slow here", level="warning")]

    @hookimpl
    def diagnose(self):
        return [anima_core.Finding("warning", "no paging here")]
'''
)


@pytest.fixture
def tried(distribute, warm_children):
    """Try one strategy, or several by the names of their classes."""

    def tried(source, classes=("Mine",), *, patience=60.0, diagnose=True):
        distribute("fake-a", source, {c.lower(): c for c in classes}, version="1.2")
        found = {o.name: o for o in offers() if o.distribution == "fake-a"}
        jobs = [Job(found[c.lower()], diagnose=diagnose) for c in classes]
        reports = probe(jobs, patience=patience)
        assert not {name for name in sys.modules if name.startswith("fake_")}
        return reports if len(reports) > 1 else reports[0]

    return tried


def stack(hook, parameters, body, name="Mine"):
    return f"\nclass {name}(Base):\n    @hookimpl\n    def {hook}({parameters}):\n        {body}\n"


def test_every_hook_of_a_sound_strategy_is_tried(tried, monkeypatch):
    from anima_core.hookspecs import HOOKS, SLOTS

    monkeypatch.setattr(sys, "executable", COLD)
    report = tried(EVERYTHING)
    assert report.faults == {}
    assert report.notes == ()
    assert (report.broken, report.reason) == ("", "")
    assert set(report.hooks) == set(HOOKS)
    assert set(report.slots) == set(SLOTS)
    assert [finding.what for finding in report.findings] == ["no paging here"]


FAULTS = [
    ("callbacks", "self, run", "return 7", "answered 7, where"),
    ("callbacks", "self, run", "raise SystemExit(0)", "failed: SystemExit: 0"),
    ("configure_model", "self, run, config", "return config", "where None (the config"),
    ("validate", "self, run", "return ['too big']", "'too big' in it"),
    ("estimate_memory", "self, run, shape", "return shape.no_such", "failed: AttributeError"),
    (
        "patch_model",
        "self, run, model",
        "import contextlib; return contextlib.ExitStack().__exit__",
        "answered a method",
    ),
    (
        "callbacks",
        "self, run",
        "import torch; torch.nn.functional.gelu = None; return []",
        "replaced torch.nn.functional.gelu",
    ),
]


def test_what_hooks_do_wrong_is_told(tried):
    names = [f"Fault{number}" for number in range(len(FAULTS))]
    source = HEAD + "".join(
        stack(hook, parameters, body, name)
        for name, (hook, parameters, body, _) in zip(names, FAULTS, strict=True)
    )
    for report, (hook, _, _, words) in zip(tried(source, names), FAULTS, strict=True):
        assert list(report.faults) == [hook]
        assert report.faults[hook].startswith(f"its hook `{hook}` ")
        assert words in report.faults[hook]
        assert report.reason == report.faults[hook]
        assert report.summary == "A strategy made for a test."


def test_one_that_ends_or_hangs_the_process_does_not_take_the_others_along(tried):
    source = HEAD + (
        stack("callbacks", "self, run", "print('{}'); return []", "Sound")
        + stack("callbacks", "self, run", "os._exit(7)", "Exits")
        + stack("callbacks", "self, run", "os.kill(os.getpid(), signal.SIGSEGV)", "Crashes")
        + stack("callbacks", "self, run", "time.sleep(600)", "Hangs")
        + stack("callbacks", "self, run", "return 7", "Wrong")
    )
    names = ("Exits", "Sound", "Crashes", "Hangs", "Wrong")
    reports = dict(zip(names, tried(source, names, patience=5.0), strict=True))

    assert "`callbacks` ended the process (exit status 7)" in reports["Exits"].reason
    assert "`callbacks` ended the process (killed by SIGSEGV)" in reports["Crashes"].reason
    assert "`callbacks` took longer than 5 seconds" in reports["Hangs"].reason
    assert "`callbacks` answered 7" in reports["Wrong"].reason
    assert reports["Sound"].reason == ""
    assert {report.hooks for report in reports.values()} == {("callbacks",)}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os; os._exit(7)", "its import ended the process (exit status 7)"),
        ("import time; time.sleep(600)", "its import took longer than 3 seconds"),
        ("import no_such_module", "does not import: ModuleNotFoundError"),
    ],
)
def test_an_import_that_goes_wrong(tried, source, words):
    report = tried(source, patience=3.0)
    assert words in report.broken
    assert report.reason == report.broken


def test_one_that_cannot_be_built(tried):
    source = HEAD + "    \nclass Mine(Base):\n    def __init__(self, options):\n        1 / 0\n"
    assert "cannot be built: ZeroDivisionError" in tried(source).reason


SEVEN = "    @hookimpl\n    def callbacks(self, run):\n        return 7\n"
HUB = "from transformers import AutoConfig; AutoConfig.from_pretrained('nobody/nothing-here')"
NOT_TRIED = {
    "its option `teacher` has no default": (
        "\nclass Mine(Base):\n    class Options(anima_core.Options):\n"
        "        teacher: str = Field(description='Whom to ask.')\n" + SEVEN
    ),
    "no CUDA here": (
        stack("validate", "self, run", "return [anima_core.Problem('x', 'no CUDA here')]") + SEVEN
    ),
    "its hook `callbacks` refuses here: no licence": stack(
        "callbacks", "self, run", "raise anima_core.SetupError('no licence')"
    ),
    "--nobody: no installed distribution offers": (
        "\nclass Mine(Base):\n    requires = ('nobody',)\n" + SEVEN
    ),
    "it wants the network": stack("callbacks", "self, run", HUB),
}


def test_what_cannot_be_tried_is_no_fault(tried):
    names = [f"Mine{number}" for number in range(len(NOT_TRIED))]
    parts = zip(names, NOT_TRIED.values(), strict=True)
    source = HEAD + "".join(part.replace("class Mine(", f"class {name}(") for name, part in parts)
    for report, why in zip(tried(source, names), NOT_TRIED, strict=True):
        assert report.reason == ""
        assert len(report.notes) == 1
        assert why in report.notes[0]


def test_one_that_needs_another_is_tried_beside_it(tried):
    source = HEAD + (
        "\nclass Mine(Base):\n    requires = ('xentropy',)\n"
        "    @hookimpl\n    def callbacks(self, run):\n"
        "        return [run.strategies['xentropy'].chunk_tokens]\n"
    )
    assert "answered a list with 1024 in it" in tried(source).reason


def test_a_diagnosis_that_fails_breaks_no_run(tried):
    report = tried(HEAD + stack("diagnose", "self", "return 1 / 0"))
    assert "`diagnose` failed: ZeroDivisionError" in report.faults["diagnose"]
    assert report.reason == ""
