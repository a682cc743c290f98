"""The check of model loaders passes the core's, and names each planted defect."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from anima_core import NoOptions, UsageError
from anima_core.model.load import Safetensors
from anima_core.testing import check_loader, tiny_model


def core(run, config, attention):
    return Safetensors(NoOptions()).load_model(run, config, attention)


def test_the_cores_passes():
    check_loader(core)
    check_loader(core, family="gpt2")


def test_a_hook_is_given_what_it_takes():
    def load(run, attention):
        return core(run, copy.deepcopy(run.model_config), attention)

    check_loader(load)


def rounded(run, config, attention, steps=16):
    model = core(run, config, attention)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                scale = parameter.abs().max() / steps
                parameter.copy_((parameter / scale).round() * scale)
    return model


def test_a_loader_that_quantises_has_more_room():
    with pytest.raises(AssertionError, match="float32 logits are not those"):
        check_loader(rounded)
    check_loader(rounded, quantised=True)
    with pytest.raises(AssertionError, match="relative error"):
        check_loader(rounded, quantised=True, tolerance=1e-4)


def other_weights(run, config, attention):
    model = core(run, config, attention)
    model.load_state_dict(tiny_model("llama", seed=5).state_dict())
    return model


def test_other_weights_are_found_even_among_quantised_ones():
    with pytest.raises(AssertionError, match="float32 logits are not those"):
        check_loader(other_weights, quantised=True)


def always_float32(run, config, attention):
    return core(run, config, attention).float()


def always_eager(run, config, attention):
    model = core(run, config, attention)
    model.set_attn_implementation("eager")
    return model


def writes_into_the_config(run, config, attention):
    model = core(run, config, attention)
    config.use_cache = not config.use_cache
    return model


def loses_a_layer(run, config, attention):
    model = core(run, config, attention)
    model.model.layers = model.model.layers[:1]
    return model


def transposes_the_head(run, config, attention):
    model = core(run, config, attention)
    model.lm_head = torch.nn.Identity()
    return model


def a_state_dict(run, config, attention):
    return core(run, config, attention).state_dict()


def opens_pickles(run, config, attention):
    path = run.model_dir / "pytorch_model.bin"
    if path.exists():
        torch.load(path, weights_only=False)
        raise UsageError("no safetensors")
    return core(run, config, attention)


def begins_at_random(run, config, attention):
    if not any(run.model_dir.glob("*.safetensors")):
        return AutoModelForCausalLM.from_config(config)
    return core(run, config, attention)


def lets_the_library_speak(run, config, attention):
    return AutoModelForCausalLM.from_pretrained(
        run.model_dir,
        config=copy.deepcopy(config),
        dtype=run.torch_weights_dtype,
        attn_implementation=attention.name,
        use_safetensors=True,
    )


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (always_float32, r"is torch\.float32, and torch\.bfloat16 was asked for"),
        (always_eager, "attention is 'eager'"),
        (writes_into_the_config, r"changed the config it was given \(use_cache\)"),
        (loses_a_layer, "float32 logits are not those"),
        (transposes_the_head, "head cannot be read"),
        (a_state_dict, "returned a .*[dD]ict"),
        (opens_pickles, "opened a pickle"),
        (begins_at_random, "gave a model for a folder without safetensors"),
        (lets_the_library_speak, "must raise UsageError, not OSError"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_defect_is_named(load, said):
    with pytest.raises(AssertionError, match=said):
        check_loader(load)
