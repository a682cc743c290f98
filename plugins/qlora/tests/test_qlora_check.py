from __future__ import annotations

from typing import Any

import pytest
from anima_qlora.lora import Lora
from anima_qlora.options import LoraOptions, QloraOptions
from anima_qlora.qlora import Qlora

from anima_core import Problem
from anima_core.testing import run_context, tiny_config


def problems(word: str, family: str = "llama", device: str = "cpu", **given: Any) -> list[Problem]:
    strategy = Lora(LoraOptions(**given)) if word == "lora" else Qlora(QloraOptions(**given))
    run = run_context(model_config=tiny_config(family), device=device)
    return list(strategy.validate(run))


@pytest.mark.parametrize("word", ["lora", "qlora"])
def test_the_defaults_are_in_order(word: str) -> None:
    assert problems(word) == []


def test_an_unknown_target_is_told_which_layers_there_are() -> None:
    (problem,) = problems("lora", targets="q_proj,query")
    assert problem.where == "--lora.targets"
    assert "'query'" in problem.what
    for name in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"):
        assert name in problem.fix
    assert "lm_head" not in problem.fix
    assert "c_attn" in problems("lora", "gpt2", targets="query")[0].fix


def test_the_head_is_no_target_and_neither_is_an_embedding() -> None:
    (problem,) = problems("qlora", targets="lm_head")
    assert "output head" in problem.what
    assert problems("lora", targets="embed_tokens")


def test_a_target_may_be_a_whole_name_or_its_end() -> None:
    assert problems("lora", targets="self_attn.q_proj") == []
    assert problems("lora", targets="model.layers.1.mlp.up_proj") == []
    assert problems("lora", targets="proj")  # the end of a word is not the end of a name


@pytest.mark.parametrize(
    ("word", "given", "where"),
    [
        ("lora", {"init": "orthogonal", "r": 3}, "--lora.init"),
        ("lora", {"init": "pissa", "dora": True}, "--lora.dora"),
        ("lora", {"init": "olora", "dora": True}, "--lora.dora"),
        ("lora", {"init": "pissa", "r": 33}, "--lora.r"),
        ("qlora", {"init": "pissa"}, "--qlora.init"),
        ("qlora", {"init": "olora"}, "--qlora.init"),
        ("qlora", {"bits": 8, "quant_type": "fp4"}, "--qlora.quant-type"),
        ("qlora", {"bits": 8, "double_quant": False}, "--qlora.double-quant"),
    ],
)
def test_options_that_exclude_one_another(word: str, given: Any, where: str) -> None:
    (problem,) = problems(word, **given)
    assert (problem.where, problem.level) == (where, "error")
    assert problem.fix


def test_olora_is_refused_where_weights_are_transposed() -> None:
    (problem,) = problems("lora", "gpt2", init="olora")
    assert problem.where == "--lora.init"


def test_a_device_without_kernels_is_refused() -> None:
    assert any(p.where == "--device" for p in problems("qlora", device="vulkan"))


def test_weights_that_are_quantised_already_are_refused() -> None:
    config = tiny_config()
    config.quantization_config = {"quant_method": "gptq", "bits": 4}
    found = Qlora(QloraOptions()).validate(run_context(model_config=config))
    assert any("gptq" in p.what and p.where == "--qlora" for p in found)
