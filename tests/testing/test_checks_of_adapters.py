"""The check of adapters passes a sound one, and names each planted defect."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from anima_core import Adapter, UsageError
from anima_core.testing import check_adapter

NAME = "offset"


class Shifted(torch.nn.Module):
    """A linear layer plus a trained offset, which can be switched off."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.offset = torch.nn.Parameter(torch.zeros(inner.out_features))
        self.on = True

    def forward(self, x):
        return self.inner(x) + self.offset * self.on


def adapt_model(run, model):
    """A sound adapter: a trained offset on one layer; each test below spoils one thing of it."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    block = model.model.layers[0].mlp
    inner = block.down_proj
    block.down_proj = shifted = Shifted(inner)

    def save(folder):
        save_file({NAME: shifted.offset.detach()}, folder / "adapter.safetensors")

    def load(folder):
        path = folder / "adapter.safetensors"
        if not path.exists():
            raise UsageError("there is no adapter", where=str(folder))
        with torch.no_grad():
            shifted.offset.copy_(load_file(path)[NAME])

    def merge():
        inner.bias = torch.nn.Parameter(shifted.offset.detach().clone(), requires_grad=False)
        block.down_proj = inner
        return model

    @contextmanager
    def disabled():
        shifted.on = False
        yield
        shifted.on = True

    return Adapter(model, {NAME: shifted.offset}, save, load, merge, disabled)


def merged_into_plain(run, model):
    """The same, with a merge that keeps the base model's parameters."""
    adapter = adapt_model(run, model)
    shifted = model.model.layers[0].mlp.down_proj

    def merge():
        # The plain layer has no bias: carry the offset over by the layer's constant input.
        model.model.layers[0].mlp.down_proj = shifted.inner
        return model

    return replace(adapter, merge=merge)


def spoiled(**changes):
    def adapt(run, model):
        adapter = full(run, model)
        return replace(adapter, **{name: make(adapter) for name, make in changes.items()})

    return adapt


def full(run, model):
    """The core's own: everything is trained."""
    from anima_core import NoOptions
    from anima_core.model.full import Full

    return Full(NoOptions()).adapt_model(run, model)


def test_sound_ones_pass():
    check_adapter(full)
    check_adapter(full, family="gpt2")


def test_what_a_hook_does_not_take_is_not_given():
    with pytest.raises(AssertionError, match="no Adapter"):
        check_adapter(lambda model: "adapted")


def test_an_adapter_that_adds_parameters_cannot_leave_them_in_the_merged_model():
    with pytest.raises(AssertionError, match=r"other parameters than .*down_proj\.bias"):
        check_adapter(adapt_model)
    with pytest.raises(AssertionError, match="merged model's logits are not"):
        check_adapter(merged_into_plain)


def half_frozen(run, model):
    adapter = full(run, model)
    frozen = dict(list(adapter.trainable.items())[:3])
    for parameter in frozen.values():
        parameter.requires_grad_(False)
    return adapter


def stray(adapter):
    return {**adapter.trainable, "stray": torch.nn.Parameter(torch.zeros(1))}


def fewer(adapter):
    return dict(list(adapter.trainable.items())[1:])


def pickled(adapter):
    return lambda folder: torch.save(dict(adapter.trainable), folder / "weights.bin")


def disguised(adapter):
    def save(folder):
        adapter.save(folder)
        torch.save(dict(adapter.trainable), folder / "state.dat")

    return save


def empty(adapter):
    return lambda folder: None


def no_tensors(adapter):
    return lambda folder: (folder / "config.json").write_text("{}") and None


def forgets(adapter):
    """Saves, and loses the half of what it saved."""

    def load(folder):
        adapter.load(folder)
        with torch.no_grad():
            next(iter(adapter.trainable.values())).zero_()

    return load


def shrugs(adapter):
    return lambda folder: adapter.load(folder) if any(folder.iterdir()) else None


def crashes(adapter):
    return lambda folder: adapter.load(folder) if any(folder.iterdir()) else {}["weights"]


def moves(adapter):
    def save(folder):
        adapter.save(folder)
        with torch.no_grad():
            next(iter(adapter.trainable.values())).mul_(0.5)

    return save


def other_model(adapter):
    from anima_core.testing import tiny_model

    return lambda: tiny_model("llama", seed=9)


def wrapped(adapter):
    return lambda: torch.nn.Sequential(adapter.model)


@pytest.mark.parametrize(
    ("adapt", "said"),
    [
        (half_frozen, "which is frozen or not one of `model`'s"),
        (spoiled(trainable=stray), "stray, which is frozen or not one of"),
        (spoiled(trainable=fewer), "`trainable` does not name it: freeze it"),
        (spoiled(trainable=lambda a: {}), "nothing to train"),
        (spoiled(disabled=lambda a: nullcontext), "under `disabled` the logits are not the base"),
        (spoiled(save=pickled), r"weights\.bin is a pickle"),
        (spoiled(save=disguised), r"state\.dat is a pickle"),
        (spoiled(save=empty), "nothing was saved"),
        (spoiled(save=no_tensors), r"no safetensors among .*config\.json"),
        (spoiled(save=moves), "`save` changed the model"),
        (spoiled(load=forgets), "loaded from what was saved has other logits"),
        (spoiled(load=shrugs), "`load` of an empty folder raised nothing"),
        (spoiled(load=crashes), "must raise UsageError, not KeyError"),
        (spoiled(merge=other_model), "merged model's logits are not the adapted one's"),
        (spoiled(merge=wrapped), "`merge` returned a Sequential"),
    ],
)
def test_the_defect_is_named(adapt, said):
    with pytest.raises(AssertionError, match=said):
        check_adapter(adapt)


def test_a_parameter_that_nothing_uses_is_named():
    def adapt(run, model):
        adapter = full(run, model)
        model.idle = torch.nn.Parameter(torch.zeros(2))
        return replace(adapter, trainable={**adapter.trainable, "idle": model.idle})

    with pytest.raises(AssertionError, match="no gradient reaches idle"):
        check_adapter(adapt)


def test_disabled_must_come_back():
    def adapt(run, model):
        adapter = adapt_model(run, model)
        shifted = model.model.layers[0].mlp.down_proj

        @contextmanager
        def disabled():
            shifted.on = False
            yield

        return replace(adapter, disabled=disabled)

    with pytest.raises(AssertionError, match="after `disabled` the logits are not what they were"):
        check_adapter(adapt)


def test_training_that_changes_nothing_is_found():
    def adapt(run, model):
        adapter = adapt_model(run, model)
        model.model.layers[0].mlp.down_proj.on = False
        return adapter

    with pytest.raises(AssertionError, match="do not change the logits"):
        check_adapter(adapt)
