from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from anima_qlora.adapter import add_lora, factors, peft_config
from anima_qlora.options import QloraOptions
from anima_qlora.qlora import Qlora
from anima_qlora.quantised import weight_of
from peft import set_peft_model_state_dict
from transformers import AutoConfig, AutoModelForCausalLM

from anima_core import Attention, UsageError
from anima_core.testing import run_context

IDS = torch.tensor([[5, 17, 8, 33, 2, 91, 64, 7]])
BNB = (bitsandbytes.nn.Linear4bit, bitsandbytes.nn.Linear8bitLt)
STORED = [
    {},
    {"double_quant": False},
    {"quant_type": "fp4"},
    {"bits": 8},
]


def quantised_layers(model: Any) -> dict[str, Any]:
    return {n: m for n, m in model.named_modules() if isinstance(m, BNB)}


def reference(built: Any) -> Any:
    """A float32 model with the restored weights, in ordinary layers, and the same factors."""
    base = AutoModelForCausalLM.from_pretrained(built.run.model_dir)
    for name, layer in quantised_layers(built.base).items():
        plain = name.replace(".base_layer", "")
        base.get_submodule(plain).weight.data = weight_of(layer)
    model = add_lora(base, peft_config(built.strategy.options, "default"))
    set_peft_model_state_dict(model, factors(built.adapter.model))
    return model


@pytest.mark.parametrize("given", STORED)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_step_after_an_evaluation_has_the_right_gradient(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, given: Any, checkpointing: bool
) -> None:
    # As on a CPU with AVX512-BF16, where the first evaluation would repack the weights.
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)
    built = build("qlora", init="orthogonal", **given)  # (evaluates the base once)
    for layer in quantised_layers(built.base).values():
        assert getattr(layer, "support_avx512bf16_for_cpu", False) is False
    built.logits()  # and once with the adapter
    with torch.inference_mode():
        built.adapter.model(input_ids=IDS)
    other = reference(built)
    assert torch.allclose(built.logits(), other.eval()(input_ids=IDS).logits, atol=2e-5)
    if checkpointing:
        built.base.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False}
        )
    for model in (built.adapter.model, other):
        model.train()
        model(input_ids=IDS, labels=IDS).loss.backward()
    expected = dict(other.named_parameters())
    for name, parameter in built.adapter.trainable.items():
        assert parameter.grad is not None
        assert expected[name].grad.abs().max() > 0
        error = (parameter.grad - expected[name].grad).norm() / expected[name].grad.norm()
        assert error < 1e-4, name


def test_8_bit_weights_are_rounded_rows(build: Callable[..., Any], folders: Any) -> None:
    """round(127 w / max|row|) (Dettmers et al. 2022, LLM.int8(), eq. 3 by rows)."""
    built = build("qlora", bits=8)
    plain = AutoModelForCausalLM.from_pretrained(folders("llama"))
    for name, layer in quantised_layers(built.base).items():
        weight = plain.get_submodule(name.replace(".base_layer", "")).weight.detach()
        weight = weight.half().float()  # bitsandbytes rounds from float16
        scale = weight.abs().amax(dim=1, keepdim=True)
        expected = torch.round(127 * weight / scale) * scale / 127
        same = (weight_of(layer) - expected).abs() <= 1e-6
        assert same.float().mean() > 0.999  # ties may fall either way


def test_4_bit_weights_are_the_nearest_of_sixteen_values(
    build: Callable[..., Any], folders: Any
) -> None:
    """Each weight over the largest of its block of 64 becomes the nearest value of NF4."""
    built = build("qlora", double_quant=False)
    plain = AutoModelForCausalLM.from_pretrained(folders("llama"))
    values = torch.tensor(bitsandbytes.functional.get_4bit_type("nf4", "cpu").tolist())
    for name, layer in quantised_layers(built.base).items():
        weight = plain.get_submodule(name.replace(".base_layer", "")).weight.detach()
        blocks = weight.reshape(-1, 64)
        scale = blocks.abs().amax(dim=1, keepdim=True)
        nearest = ((blocks / scale)[..., None] - values).abs().argmin(dim=-1)
        expected = (values[nearest] * scale).reshape(weight.shape)
        same = (weight_of(layer) - expected).abs() <= 1e-6
        assert same.float().mean() > 0.999


@pytest.mark.parametrize("bits", [4, 8])
def test_training_and_evaluation_pass_agree(build: Callable[..., Any], bits: int) -> None:
    built = build("qlora", bits=bits)
    model = built.adapter.model
    with torch.no_grad():
        assert torch.equal(model.train()(input_ids=IDS).logits, model.eval()(input_ids=IDS).logits)


def test_8_bit_tokens_do_not_depend_on_their_neighbours(build: Callable[..., Any]) -> None:
    """A large value in one token must not change how another's is rounded."""
    layer = next(iter(quantised_layers(build("qlora", bits=8).base).values()))
    x = torch.randn(4, layer.in_features)
    alone = layer(x[:1])
    x[3, 5] = 60.0
    assert torch.allclose(layer(x)[:1], alone, atol=1e-6)


@pytest.mark.parametrize("bits", [4, 8])
def test_head_and_embeddings_are_not_quantised(build: Callable[..., Any], bits: int) -> None:
    for family in ("llama", "mistral"):  # tied and untied
        built = build("qlora", family, bits=bits)
        assert len(quantised_layers(built.base)) == 2 * 7
        for layer in (built.base.get_output_embeddings(), built.base.get_input_embeddings()):
            assert layer.weight.dtype == torch.float32
            assert not isinstance(layer, BNB)


@pytest.mark.parametrize("bits", [4, 8])
def test_in_bfloat16_norms_compute_in_float32_and_the_stream_stays(
    build: Callable[..., Any], bits: int
) -> None:
    built = build("qlora", "qwen3", dtype="bfloat16", bits=bits)
    seen: dict[str, set[torch.dtype]] = {"norm": set(), "block": set()}
    for name, module in built.base.named_modules():
        if "Norm" in type(module).__name__:
            assert module.weight.dtype == torch.float32, name
            module.register_forward_hook(lambda _m, _a, out: seen["norm"].add(out.dtype))
        if type(module).__name__.endswith("DecoderLayer"):
            module.register_forward_hook(lambda _m, _a, out: seen["block"].add(out.dtype))
    assert built.base.get_output_embeddings().weight.dtype == torch.bfloat16
    built.train(1)
    assert seen == {"norm": {torch.bfloat16}, "block": {torch.bfloat16}}
    assert all(torch.isfinite(p).all() for p in built.adapter.trainable.values())
    trained = built.logits().float()
    merged = built.adapter.merge()
    assert {p.dtype for p in merged.parameters()} == {torch.bfloat16}
    merged.eval()
    with torch.no_grad():
        logits = merged(input_ids=IDS).logits.float()
    assert (logits - trained).abs().mean() < 0.05 * trained.abs().mean()


def test_in_float32_everything_stays_as_it_is(build: Callable[..., Any]) -> None:
    built = build("qlora")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in built.base.modules())


@pytest.mark.parametrize("given", STORED)
def test_a_merged_model_is_an_ordinary_folder(
    build: Callable[..., Any], tmp_path: Path, given: Any
) -> None:
    built = build("qlora", "gpt2", **given)
    built.train()
    trained = built.logits()
    merged = built.adapter.merge()
    assert not quantised_layers(merged)
    merged.save_pretrained(tmp_path)
    assert "quantization_config" not in (tmp_path / "config.json").read_text()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.allclose(loaded(input_ids=IDS).logits, trained, atol=2e-5)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_wrapper_may_be_moved_to_the_device(build: Callable[..., Any], bits: int) -> None:
    built = build("qlora", bits=bits)
    before = built.logits()
    torch.nn.ModuleList([built.adapter.model]).to("cpu")
    assert torch.equal(built.logits(), before)
    built.train(1)
    assert not torch.equal(built.logits(), before)


def test_the_callers_config_stays_as_it_was(folders: Any) -> None:
    config = AutoConfig.from_pretrained(folders("llama"))
    before = copy.deepcopy(config.to_dict())
    run = run_context(model_dir=folders("llama"), model_config=config)
    model = Qlora(QloraOptions()).load_model(run, config, Attention(name="sdpa"))
    assert config.to_dict() == before
    assert getattr(config, "_attn_implementation", None) != "sdpa" or model.config is not config
    assert not hasattr(config, "quantization_config")
    assert model.config._attn_implementation == "sdpa"


def test_a_folder_without_safetensors_is_refused(folders: Any, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(folders("llama"))
    config.save_pretrained(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    run = run_context(model_dir=tmp_path, model_config=config)
    with pytest.raises(UsageError, match="cannot be loaded"):
        Qlora(QloraOptions()).load_model(run, config, Attention(name="sdpa"))


@pytest.mark.parametrize("given", STORED)
def test_under_autocast_it_trains_as_the_restored_model_does(
    build: Callable[..., Any], given: Any
) -> None:
    built = build("qlora", dtype="bfloat16", init="orthogonal", **given)
    other = reference(built)  # in float32
    with torch.autocast("cpu", torch.bfloat16):
        built.adapter.model.train()(input_ids=IDS, labels=IDS).loss.backward()
    other.train()(input_ids=IDS, labels=IDS).loss.backward()
    mine = torch.cat([p.grad.flatten() for p in built.adapter.trainable.values()])
    expected = dict(other.named_parameters())
    theirs = torch.cat([expected[n].grad.flatten() for n in built.adapter.trainable])
    assert mine.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(mine, theirs, dim=0) > 0.98
