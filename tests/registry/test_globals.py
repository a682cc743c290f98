"""What every model of a process shares is watched, named and put back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from anima_core.registry.globals import watched


def other(*args, **kwargs):
    return None


def changed_by(change):
    with watched() as found:
        change()
        assert found == []
    return found


def set_functional():
    from torch.nn import functional

    functional.gelu = other


def set_torch():
    import torch

    torch.softmax = other


def set_tensor():
    import torch

    torch.Tensor.backward = other


def set_inherited_by_tensor():
    import torch

    torch.Tensor.matmul = other


def set_forward():
    import torch

    torch.nn.Linear.forward = other


def set_inherited_by_linear():
    import torch

    torch.nn.Linear.__call__ = other


def set_layer():
    import torch

    torch.nn.RMSNorm = torch.nn.LayerNorm


def drop_function():
    from torch.nn import functional

    del functional.silu


def set_pretrained_model():
    from transformers import modeling_utils

    modeling_utils.PreTrainedModel.from_pretrained = classmethod(other)


def set_modeling_function():
    from transformers.models.llama import modeling_llama

    modeling_llama.apply_rotary_pos_emb = other


def set_modeling_class():
    from transformers.models.llama import modeling_llama

    modeling_llama.LlamaMLP = object


def set_modeling_forward():
    from transformers.models.llama import modeling_llama

    modeling_llama.LlamaRMSNorm.forward = other


CHANGES = {
    "torch.nn.functional.gelu": set_functional,
    "torch.softmax": set_torch,
    "torch.Tensor.backward": set_tensor,
    "torch.Tensor.matmul": set_inherited_by_tensor,
    "torch.nn.Linear.forward": set_forward,
    "torch.nn.Linear.__call__": set_inherited_by_linear,
    "torch.nn.RMSNorm": set_layer,
    "torch.nn.functional.silu": drop_function,
    "transformers.modeling_utils.PreTrainedModel.from_pretrained": set_pretrained_model,
    "transformers.models.llama.modeling_llama.apply_rotary_pos_emb": set_modeling_function,
    "transformers.models.llama.modeling_llama.LlamaMLP": set_modeling_class,
    "transformers.models.llama.modeling_llama.LlamaRMSNorm.forward": set_modeling_forward,
}


def resolved(name):
    from transformers.models.llama import modeling_llama  # noqa: F401

    module, rest = name, []
    while module not in sys.modules:
        module, _, word = module.rpartition(".")
        rest.insert(0, word)
    value = sys.modules[module]
    for word in rest:
        value = getattr(value, word)
    return getattr(value, "__func__", value)


@pytest.mark.parametrize("name", CHANGES)
def test_a_replaced_attribute_is_named_and_put_back(name):
    was = resolved(name)
    assert changed_by(CHANGES[name]) == [name]
    assert resolved(name) is was


def test_it_is_put_back_after_an_exception():
    was = resolved("torch.nn.functional.gelu")
    found = []

    def fail():
        nonlocal found
        with watched() as found:
            set_functional()
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert found == ["torch.nn.functional.gelu"]
    assert resolved("torch.nn.functional.gelu") is was


def test_the_inner_of_two_watches_finds_it_and_the_outer_nothing():
    with watched() as outer, watched() as inner:
        set_functional()
    assert (inner, outer) == (["torch.nn.functional.gelu"], [])


def test_what_is_new_or_undone_is_nobodys_fault():
    import torch
    from torch.nn import functional
    from transformers import AttentionInterface

    from anima_core import register_segment_attention

    was = functional.gelu
    with watched() as found:
        functional.gelu = other
        functional.gelu = was
        functional.brand_new = other
        torch.nn.Linear.brand_new = other
        torch.nn.Linear(2, 2).forward = other
        AttentionInterface.register("third_party", other)
        register_segment_attention("third_party_segments", other)
    assert found == []
    del functional.brand_new, torch.nn.Linear.brand_new


def test_libraries_that_load_lazily_do_not_trip_it():
    code = (
        "from anima_core.registry.globals import watched\n"
        "import torch\n"
        "with watched() as found:\n"
        "    import torch._dynamo, transformers, accelerate, datasets\n"
        "    from transformers import Trainer, AutoModelForCausalLM, TrainerCallback\n"
        "    from anima_core.testing import tiny_model\n"
        "    model = tiny_model()\n"
        "    torch.compile(torch.nn.Linear(2, 2))\n"
        "assert found == [], found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_module_that_is_first_imported_inside_is_watched_from_there_on():
    code = (
        "from anima_core.registry.globals import watched\n"
        "with watched() as found:\n"
        "    from torch.nn import functional\n"
        "    was = functional.gelu\n"
        "    functional.gelu = lambda x: x\n"
        "assert found == ['torch.nn.functional.gelu'], found\n"
        "assert functional.gelu is was\n"
        "with watched() as found:\n"
        "    from transformers.models.qwen2 import modeling_qwen2\n"
        "    was = modeling_qwen2.Qwen2MLP\n"
        "    modeling_qwen2.Qwen2MLP = None\n"
        "assert found == ['transformers.models.qwen2.modeling_qwen2.Qwen2MLP'], found\n"
        "assert modeling_qwen2.Qwen2MLP is was\n"
        "assert type(modeling_qwen2.__loader__).__name__ == 'SourceFileLoader'\n"
        "assert modeling_qwen2.__spec__.loader is modeling_qwen2.__loader__\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_torch_there_is_nothing_to_watch():
    code = (
        "import sys\nfrom anima_core.registry.globals import watched\n"
        "before = list(sys.meta_path)\n"
        "with watched() as found:\n    import json\n"
        "assert found == [] and 'torch' not in sys.modules\n"
        "assert sys.meta_path == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
