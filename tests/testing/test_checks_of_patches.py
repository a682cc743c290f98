"""The check of patches passes one that is undone, and names each trace that another leaves."""

from __future__ import annotations

from contextlib import contextmanager
from types import MethodType

import pytest
import torch

from anima_core.testing import check_patch


def layer(model):
    return model.model.layers[1].mlp


@contextmanager
def halves(model):
    """Runs an MLP on two halves of the sequence: the same answers, in two tiles."""
    block = layer(model)
    original = block.forward

    def forward(self, x):
        return torch.cat([original(part) for part in x.chunk(2, dim=1)], dim=1)

    block.forward = MethodType(forward, block)
    try:
        yield
    finally:
        del block.forward


@contextmanager
def noisy(model):
    handle = layer(model).register_forward_hook(lambda _m, _a, out: out + 0.01)
    try:
        yield
    finally:
        handle.remove()


def test_a_patch_that_is_undone_passes():
    check_patch(halves, exact=True)
    check_patch(halves, exact=True, family="qwen3")
    check_patch(noisy)


def test_a_change_of_the_answers_is_found_where_none_is_promised():
    with pytest.raises(AssertionError, match="patched model has other logits"):
        check_patch(noisy, exact=True)


@contextmanager
def leaves_its_hook(model):
    layer(model).register_forward_hook(lambda _m, _a, out: out)
    yield


@contextmanager
def leaves_its_forward(model):
    block = layer(model)
    original = block.forward
    block.forward = MethodType(lambda self, x: original(x), block)
    yield


@contextmanager
def leaves_an_attribute(model):
    model.patched = True
    yield


@contextmanager
def changes_the_class(model):
    block = layer(model)
    original = type(block)
    block.__class__ = type("Tiled", (original,), {})
    yield


@contextmanager
def changes_weights(model):
    with torch.no_grad():
        model.model.norm.weight.mul_(1.01)
    yield


@contextmanager
def exchanges_a_parameter(model):
    norm = model.model.norm
    norm.weight = torch.nn.Parameter(norm.weight.detach().clone())
    yield


@contextmanager
def freezes(model):
    model.model.norm.weight.requires_grad_(False)
    yield


@contextmanager
def evaluates(model):
    model.train()
    yield


@contextmanager
def changes_the_config(model):
    model.config.use_cache = not model.config.use_cache
    yield


@contextmanager
def adds_a_module(model):
    layer(model).extra = torch.nn.Identity()
    yield


@contextmanager
def patches_the_class(model):
    cls = type(layer(model))
    original = cls.forward

    def forward(self, x):
        return original(self, x)

    cls.forward = forward
    yield
    cls.forward = original


@contextmanager
def patches_torch(model):
    original = torch.nn.functional.silu
    torch.nn.functional.silu = lambda x, inplace=False: original(x, inplace)
    yield
    torch.nn.functional.silu = original


@contextmanager
def swallows(model):
    try:
        yield
    except Exception:  # noqa: BLE001 - the defect that is planted
        return


@contextmanager
def forgets_on_error(model):
    block = layer(model)
    original = block.forward
    block.forward = MethodType(lambda self, x: original(x), block)
    yield
    del block.forward


@contextmanager
def breaks(model):
    handle = layer(model).register_forward_hook(lambda _m, _a, out: out * float("nan"))
    yield
    handle.remove()


@contextmanager
def detaches(model):
    handle = layer(model).register_forward_hook(lambda _m, _a, out: out.detach())
    yield
    handle.remove()


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        (leaves_its_hook, r"_forward_hooks\["),
        (leaves_its_forward, "kept `forward`"),
        (leaves_an_attribute, "the model kept `patched`"),
        (changes_the_class, "is a Tiled, and was a LlamaMLP"),
        (changes_weights, r"norm\.weight has other values"),
        (exchanges_a_parameter, r"norm\.weight is another tensor object"),
        (freezes, "no gradient reaches"),
        (evaluates, "has another `training`"),
        (changes_the_config, "config has another `use_cache`"),
        (adds_a_module, "extra was added"),
        (patches_the_class, "LlamaMLP has another `forward`|replaces .*LlamaMLP.forward"),
        (patches_torch, r"torch\.nn\.functional\.silu"),
        (swallows, "swallowed an exception"),
        (forgets_on_error, "after an exception inside the patch"),
        (breaks, "logits are not finite"),
        (detaches, "no gradient reaches"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_trace_is_named(patch, said):
    silu = torch.nn.functional.silu
    with pytest.raises(AssertionError, match=said):
        check_patch(patch)
    assert torch.nn.functional.silu is silu


def test_something_else_than_a_context_manager_is_refused():
    with pytest.raises(AssertionError, match="no context manager"):
        check_patch(lambda model: None)
