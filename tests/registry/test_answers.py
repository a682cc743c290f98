"""What each hook may return, and how it is told that it returned something else."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch

import anima_core
from anima_core.hookspecs import HOOKS
from anima_core.registry.answers import check_answer, check_record
from anima_core.testing import tiny_model, tiny_tokenizer


class Loss:
    data, scope, needs, uses_reference = "completion", "example", "logps", False

    def denominators(self, batch):
        return {}

    def __call__(self, batch, logps, reference=None):
        return None


class Topk(Loss):
    needs = "topk"

    def wanted(self, batch):
        return None


class Hidden(Loss):
    needs = "hidden"

    def places(self, batch):
        return None


def loss(**words):
    made = Loss()
    vars(made).update(words)
    return made


def without(name):
    return type("Short", (), {k: v for k, v in vars(Loss).items() if k != name})()


def adapter(**words):
    model = tiny_model()
    trainable = dict(model.named_parameters())
    made = anima_core.Adapter(model, trainable, print, print, print)
    return dataclasses.replace(made, **words)


def callback():
    from transformers import TrainerCallback

    return TrainerCallback()


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)


GOOD = {
    "load_tokenizer": [tiny_tokenizer],
    "configure_model": [lambda: None],
    "attention": [lambda: anima_core.Attention("mine", dtypes=("float32",))],
    "load_model": [tiny_model],
    "adapt_model": [adapter, lambda: adapter(disabled=contextlib.nullcontext, folder="model")],
    "patch_model": [contextlib.nullcontext],
    "read_data": [list, lambda: (n for n in range(3))],
    "token_logps": [lambda: print],
    "loss": [Loss, Topk, Hidden],
    "optimizer": [optimizer],
    "callbacks": [list, lambda: (callback(),)],
    "estimate_memory": [lambda: {"logits": 7}, dict],
    "validate": [tuple, lambda: [anima_core.Problem("here", "bad")]],
    "diagnose": [list, lambda: [anima_core.Finding("warning", "slow")]],
}


def test_every_hook_has_its_check():
    assert set(GOOD) == set(HOOKS)


@pytest.mark.parametrize(("hook", "make"), [(h, m) for h, made in GOOD.items() for m in made])
def test_what_the_specification_asks_for_is_taken(hook, make):
    assert check_answer(hook, make()) == ""


BAD = [
    ("load_tokenizer", lambda: "gpt2", "'gpt2', where a transformers tokenizer"),
    ("configure_model", lambda: {"rope": 1}, "{'rope': 1}, where None"),
    ("attention", lambda: "sdpa", "'sdpa', where an anima_core.Attention"),
    ("attention", lambda: anima_core.Attention(""), "name is ''"),
    ("attention", lambda: anima_core.Attention("a", dtypes=(torch.float16,)), "dtypes are"),
    ("attention", lambda: anima_core.Attention("a", softcap=None), "softcap is None, no bool"),
    ("load_model", lambda: torch.nn.Linear(2, 2), "a Linear, where a transformers.PreTrainedModel"),
    ("adapt_model", tiny_model, "a LlamaForCausalLM, where an anima_core.Adapter"),
    ("adapt_model", lambda: adapter(model=None), "model is None"),
    ("adapt_model", lambda: adapter(trainable=[]), "trainable is [], no mapping"),
    ("adapt_model", lambda: adapter(trainable={"a": torch.ones(1)}), "'a': a Tensor"),
    ("adapt_model", lambda: adapter(save=None), "save is None, and cannot be called"),
    ("adapt_model", lambda: adapter(folder="../x"), "folder is '../x', not adapter or model"),
    ("patch_model", lambda: None, "None, where a context manager"),
    ("read_data", lambda: "file.jsonl", "'file.jsonl', where an iterable"),
    ("read_data", lambda: {"prompt": 1}, "where an iterable of anima_core.Record"),
    ("read_data", lambda: 7, "7, where an iterable"),
    ("token_logps", lambda: "log-probs", "'log-probs', where a callable"),
    ("token_logps", lambda: Loss, "the class Loss, not an instance"),
    ("loss", lambda: Loss, "the class Loss, not an instance, where a loss"),
    ("loss", lambda: lambda batch, logps, reference: 0, "a function, where a loss"),
    ("loss", lambda: without("denominators"), "a loss without denominators"),
    ("loss", lambda: loss(needs="topk"), "a loss without wanted"),
    ("loss", lambda: loss(needs="hidden"), "a loss without places"),
    ("loss", lambda: loss(data="chat"), "data is 'chat', not completion or preference"),
    ("loss", lambda: loss(scope="batch"), "scope is 'batch'"),
    ("loss", lambda: loss(uses_reference="no"), "uses_reference is 'no'"),
    ("loss", lambda: loss(uses_reference=1), "uses_reference is 1"),
    ("loss", lambda: loss(denominators=3), "denominators cannot be called"),
    ("loss", lambda: loss(collision="yes"), "collision is 'yes', no bool"),
    ("loss", lambda: loss(differences=None), "differences are None, no mapping"),
    ("loss", lambda: loss(differences={"margin": ("a",)}), "no mapping of a name to two names"),
    ("optimizer", lambda: torch.optim.AdamW, "the class AdamW, not an instance"),
    ("callbacks", callback, "a TrainerCallback, where a list or tuple"),
    ("callbacks", lambda: [type(callback())], "the class TrainerCallback, not an instance in it"),
    ("callbacks", lambda: None, "None, where a list or tuple"),
    ("estimate_memory", lambda: 7, "7, where a mapping"),
    ("estimate_memory", lambda: {"logits": 1.5}, "'logits': 1.5"),
    ("estimate_memory", lambda: {"logits": -1}, "'logits': -1"),
    ("validate", lambda: ["too big"], "'too big' in it, where every item is to be a"),
    ("validate", lambda: "too big", "'too big', where a list or tuple"),
    ("validate", lambda: [anima_core.Problem("x", "y", level="bad")], "level is 'bad', not error"),
    ("validate", lambda: (p for p in ()), "a generator, where a list or tuple"),
    ("diagnose", lambda: ["fine"], "'fine' in it"),
    ("diagnose", lambda: [anima_core.Finding("fine", "y")], "level is 'fine', not ok or warning"),
    ("diagnose", lambda: [anima_core.Finding("ok", None)], "what is None, no text"),
]


@pytest.mark.parametrize(("hook", "make", "words"), BAD)
def test_anything_else_is_told(hook, make, words):
    problem = check_answer(hook, make())
    assert problem.startswith("answered ")
    assert words in problem
    assert len(problem) < 250


def test_a_record_is_looked_at_by_itself():
    assert check_record(anima_core.Record({"prompt": "a"}, "f", 1)) == ""
    assert "gave {'prompt': 'a'}, where an anima_core.Record" in check_record({"prompt": "a"})
    assert "fields are None" in check_record(anima_core.Record(None, "f", 1))
