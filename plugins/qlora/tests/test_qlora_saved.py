from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from anima_core import UsageError

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("lora", {}),
    ("lora", {"dora": True, "rslora": True}),
    ("lora", {"init": "pissa"}),
    ("lora", {"init": "pissa_niter_16", "rslora": True}),
    ("lora", {"init": "olora"}),
    ("qlora", {"dora": True}),
    ("qlora", {"bits": 8}),
]


@pytest.mark.parametrize(("word", "given"), KINDS)
def test_what_is_saved_is_loaded_bit_for_bit(
    build: Callable[..., Any], tmp_path: Path, word: str, given: dict[str, Any]
) -> None:
    built = build(word, **given)
    built.train()
    built.adapter.save(tmp_path)
    other = build(word, **given)
    other.adapter.load(tmp_path)
    for name, parameter in built.adapter.trainable.items():
        assert torch.equal(parameter, other.adapter.trainable[name]), name
        assert other.adapter.trainable[name].requires_grad
    assert torch.equal(other.logits(), built.logits())


@pytest.mark.parametrize("given", [given for word, given in KINDS if word == "lora"])
def test_peft_reads_the_folder(
    build: Callable[..., Any], tmp_path: Path, given: dict[str, Any]
) -> None:
    """On the plain base weight, also where the initialisation had changed it."""
    built = build("lora", **given)
    built.train()
    built.adapter.save(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(built.run.model_dir)
    loaded = PeftModel.from_pretrained(base, tmp_path).eval()
    with torch.no_grad():
        logits = loaded(input_ids=torch.tensor([[5, 17, 8, 33, 2, 91, 64, 7]])).logits
    assert torch.allclose(logits, built.logits(), atol=2e-5)


def test_the_folder_has_pefts_layout(build: Callable[..., Any], tmp_path: Path) -> None:
    built = build("qlora", targets="v_proj,q_proj")
    built.adapter.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(built.run.model_dir)
    assert config["target_modules"] == ["q_proj", "v_proj"]
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (4, 8, "LORA")
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert all(t.dtype == torch.float32 for t in tensors.values())


def test_a_hub_model_is_named_by_its_id(build: Callable[..., Any], tmp_path: Path) -> None:
    build("lora", model="somebody/some-model").adapter.save(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "somebody/some-model"


def test_factors_from_another_machine_move_the_base_weight(
    build: Callable[..., Any], tmp_path: Path
) -> None:
    """Randomised SVD with another seed takes another part out of the base weight."""
    built = build("lora", init="pissa_niter_16", seed=1)
    built.train()
    built.adapter.save(tmp_path)
    other = build("lora", init="pissa_niter_16", seed=2)
    same_seed = build("lora", init="pissa_niter_16", seed=1).adapter.trainable
    assert any(not torch.equal(p, same_seed[n]) for n, p in other.adapter.trainable.items())
    other.adapter.load(tmp_path)
    assert torch.allclose(other.logits(), built.logits(), atol=2e-5)
    again = tmp_path / "again"
    again.mkdir()
    other.adapter.save(again)
    first = load_file(tmp_path / "adapter_model.safetensors")
    second = load_file(again / "adapter_model.safetensors")
    assert all(torch.equal(first[n], second[n]) for n in first)


@pytest.mark.parametrize(
    ("saved", "here", "said"),
    [
        ({"r": 8, "alpha": 16.0}, {}, "--lora.r 8 --lora.alpha 16"),
        ({"alpha": 4.0}, {}, "--lora.alpha 4"),
        ({"rslora": True}, {}, "--lora.rslora true"),
        ({"dora": True}, {}, "--lora.dora true"),
        ({}, {"dora": True}, "--lora.dora false"),
        ({"targets": "q_proj"}, {}, "--lora.targets q_proj"),
        ({}, {"targets": "q_proj"}, "k_proj"),
        ({}, {"init": "pissa"}, "--lora.init default"),
        ({"init": "pissa"}, {"init": "olora"}, "--lora.init pissa"),
        ({"init": "pissa"}, {}, "--lora.r 8 --lora.alpha 16"),
        ({"init": "pissa", "r": 2, "alpha": 4.0}, {"init": "pissa"}, "--lora.r 2"),
    ],
)
def test_an_adapter_that_does_not_fit_says_what_to_change(
    build: Callable[..., Any], tmp_path: Path, saved: Any, here: Any, said: str
) -> None:
    build("lora", **saved).adapter.save(tmp_path)
    other = build("lora", **here)
    before = {n: p.detach().clone() for n, p in other.adapter.trainable.items()}
    with pytest.raises(UsageError) as error:
        other.adapter.load(tmp_path)
    assert said in str(error.value)
    assert all(torch.equal(p, before[n]) for n, p in other.adapter.trainable.items())


def test_advice_for_an_adapter_of_twice_the_rank_works(
    build: Callable[..., Any], tmp_path: Path
) -> None:
    built = build("lora", init="pissa")
    built.train()
    built.adapter.save(tmp_path)
    other = build("lora", r=8, alpha=16.0)
    other.adapter.load(tmp_path)
    assert torch.allclose(other.logits(), built.logits(), atol=2e-5)


def test_another_models_adapter_is_refused(build: Callable[..., Any], tmp_path: Path) -> None:
    build("lora", "gpt2").adapter.save(tmp_path)
    with pytest.raises(UsageError, match="has other layers"):
        build("lora").adapter.load(tmp_path)


def test_nothing_but_a_lora_adapter_in_safetensors_is_read(
    build: Callable[..., Any], tmp_path: Path
) -> None:
    built = build("lora")
    with pytest.raises(UsageError, match=r"adapter_config\.json"):
        built.adapter.load(tmp_path)
    built.adapter.save(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(UsageError, match=r"adapter_model\.safetensors"):
        built.adapter.load(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\x80\x04 no tensors")
    with pytest.raises(UsageError, match=r"adapter_model\.safetensors"):
        built.adapter.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "IA3"},
        {"init_lora_weights": "pissa"},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"alpha_pattern": {"q_proj": 3}},
    ],
)
def test_what_would_be_read_wrongly_is_refused(
    build: Callable[..., Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    built = build("lora")
    built.adapter.save(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError):
        built.adapter.load(tmp_path)
