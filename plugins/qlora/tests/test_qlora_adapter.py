from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel

LORA: list[dict[str, Any]] = [
    {"init": init} for init in ("default", "gaussian", "orthogonal", "pissa", "pissa_niter_16")
]
LORA += [{"init": "olora"}, {"dora": True}, {"rslora": True}, {"rslora": True, "init": "pissa"}]
LORA += [{"targets": "q_proj,down_proj"}]
EVERY = [("lora", given) for given in LORA] + [
    ("qlora", {}),
    ("qlora", {"quant_type": "fp4", "double_quant": False}),
    ("qlora", {"dora": True}),
    ("qlora", {"init": "orthogonal"}),
    ("qlora", {"bits": 8}),
    ("qlora", {"bits": 8, "dora": True}),
]


@pytest.mark.parametrize(("word", "given"), EVERY)
def test_it_starts_as_the_base_learns_switches_off_and_merges(
    build: Callable[..., Any], word: str, given: dict[str, Any]
) -> None:
    built = build(word, **given)
    assert torch.allclose(built.logits(), built.before, atol=2e-5)
    built.train()
    trained = built.logits()
    assert (trained - built.before).abs().max() > 0.1
    if built.adapter.disabled is not None:
        with built.adapter.disabled():
            assert torch.equal(built.logits(), built.before)
        assert torch.equal(built.logits(), trained)
        assert all(p.requires_grad for p in built.adapter.trainable.values())
    merged = built.adapter.merge()
    assert not isinstance(merged, PeftModel)
    merged.eval()
    with torch.no_grad():
        from_merged = merged(input_ids=torch.tensor([[5, 17, 8, 33, 2, 91, 64, 7]])).logits
    assert torch.allclose(from_merged, trained, atol=2e-5)


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "mistral", "gpt2"])
@pytest.mark.parametrize(("word", "given"), [("lora", {}), ("qlora", {}), ("qlora", {"bits": 8})])
def test_other_families(
    build: Callable[..., Any], family: str, word: str, given: dict[str, Any]
) -> None:
    built = build(word, family, **given)
    assert torch.allclose(built.logits(), built.before, atol=2e-5)
    built.train()
    trained = built.logits()
    merged = built.adapter.merge()
    merged.eval()
    with torch.no_grad():
        from_merged = merged(input_ids=torch.tensor([[5, 17, 8, 33, 2, 91, 64, 7]])).logits
    assert torch.allclose(from_merged, trained, atol=2e-5)


@pytest.mark.parametrize("rslora", [False, True])
def test_a_layer_computes_the_papers_formula(build: Callable[..., Any], rslora: bool) -> None:
    """h = W0 x + (alpha / r) B A x (Hu et al. 2021, eq. 3); alpha / sqrt(r) for rsLoRA."""
    built = build("lora", r=4, alpha=6.0, rslora=rslora)
    built.train(1)
    layer = built.adapter.model.get_base_model().model.layers[0].mlp.up_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert b.abs().max() > 0
    x = torch.randn(3, 64)
    scale = 6.0 / (2.0 if rslora else 4.0)
    expected = x @ layer.base_layer.weight.T + scale * (x @ a.T @ b.T)
    assert torch.allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("word", ["lora", "qlora"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_only_float32_factors_are_trainable(
    build: Callable[..., Any], word: str, dtype: str
) -> None:
    built = build(word, dtype=dtype, dora=True)
    trainable = built.adapter.trainable
    # 7 linear layers in each of 2 blocks, each with A, B and DoRA's magnitude; the head has none.
    assert len(trainable) == 2 * 7 * 3
    assert all(p.dtype == torch.float32 and p.requires_grad for p in trainable.values())
    own = dict(built.adapter.model.named_parameters())
    assert {n for n, p in own.items() if p.requires_grad} == set(trainable)
    assert all(own[name] is parameter for name, parameter in trainable.items())
    assert not any("lm_head" in name or "embed" in name for name in trainable)


def test_targets_choose_the_layers(build: Callable[..., Any]) -> None:
    built = build("lora", targets="q_proj,v_proj")
    assert len(built.adapter.trainable) == 2 * 2 * 2
    assert all("q_proj" in n or "v_proj" in n for n in built.adapter.trainable)


def test_switching_off_is_impossible_where_the_base_weight_was_changed(
    build: Callable[..., Any],
) -> None:
    assert build("lora", init="pissa").adapter.disabled is None
    assert build("lora", init="olora").adapter.disabled is None
    assert build("lora").adapter.disabled is not None


def test_orthogonal_factors_have_a_zero_product(build: Callable[..., Any]) -> None:
    built = build("lora", init="orthogonal", r=8)
    layer = built.adapter.model.get_base_model().model.layers[0].self_attn.q_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.abs().max() > 0.01
    assert b.abs().max() > 0.01
    assert (b @ a).abs().max() < 1e-6


def test_dropout_is_on_in_training_only(build: Callable[..., Any]) -> None:
    built = build("lora", dropout=0.5)
    built.train(1)
    assert torch.equal(built.logits(), built.logits())
    built.adapter.model.train()
    layer = built.adapter.model.get_base_model().model.layers[0].self_attn.q_proj
    x = torch.randn(4, 64)
    assert not torch.equal(layer(x), layer(x))
