from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from anima_qlora.options import LoraOptions
from anima_qlora.paged_adamw import PagedAdamW, PagedAdamWOptions
from anima_qlora.targets import linear_layers

from anima_core import MemoryShape, NoOptions
from anima_core.testing import run_context


def shape_of(run: Any) -> MemoryShape:
    from transformers import AutoModelForCausalLM

    config = run.model_config
    with torch.device("meta"):
        parameters = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    shapes = tuple(linear_layers(run).shapes.values())
    return MemoryShape(
        parameters=parameters,
        linear_parameters=sum(out * inner for out, inner in shapes),
        linear_shapes=shapes,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=getattr(config, "intermediate_size", 0),
        vocab=config.vocab_size,
        micro_tokens=64,
    )


def stored(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of the storages behind some tensors, each counted once."""
    seen = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(seen.values())


def base_tensors(model: Any) -> Iterable[torch.Tensor]:
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            continue
        yield parameter.data
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            yield from (state.absmax, state.code)
            if state.nested:
                yield from (state.offset, state.state2.absmax, state.state2.code)
        if getattr(parameter, "SCB", None) is not None:
            yield parameter.SCB


@pytest.mark.parametrize(
    "given",
    [{}, {"double_quant": False}, {"quant_type": "fp4"}, {"bits": 8}, {"dora": True}],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_quantised_weights_and_adapter(build: Callable[..., Any], given: Any, dtype: str) -> None:
    built = build("qlora", "mistral", dtype=dtype, **given)
    estimate = built.strategy.estimate_memory(built.run, shape_of(built.run))
    assert estimate["weights"] == pytest.approx(stored(base_tensors(built.base)), rel=0.02)
    trainable = [p.data for p in built.adapter.trainable.values()]
    assert estimate["adapter"] == pytest.approx(stored(trainable), rel=0.02)
    assert estimate["gradients"] == estimate["adapter"]


@pytest.mark.parametrize("given", [{}, {"targets": "q_proj,up_proj"}, {"dora": True}, {"r": 13}])
def test_an_adapter(build: Callable[..., Any], given: Any) -> None:
    built = build("lora", **given)
    estimate = built.strategy.estimate_memory(built.run, shape_of(built.run))
    real = stored(p.data for p in built.adapter.trainable.values())
    assert estimate == {"adapter": pytest.approx(real, rel=0.02), "gradients": estimate["adapter"]}


def optimizer_state(optimizer: torch.optim.Optimizer) -> int:
    return stored(
        value
        for state in optimizer.state.values()
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and not name.startswith("qmap")
    )


@pytest.mark.parametrize("bits", [8, 32])
@pytest.mark.parametrize("given", [{"r": 4}, {"r": 64}])  # all small; some of 4096 and more
def test_the_optimizers_state(build: Callable[..., Any], bits: int, given: Any) -> None:
    built = build("lora", **given)
    strategy = PagedAdamW(PagedAdamWOptions(bits=bits))
    groups = [{"params": list(built.adapter.trainable.values()), "weight_decay": 0.0}]
    optimizer = strategy.optimizer(built.run, groups)
    for parameter in built.adapter.trainable.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    estimate = strategy.estimate_memory(built.run, shape_of(built.run))
    assert estimate == {"optimizer": pytest.approx(optimizer_state(optimizer), rel=0.02)}


def test_the_optimizers_state_of_full_fine_tuning_and_of_an_unknown_adapter() -> None:
    strategy = PagedAdamW(PagedAdamWOptions(bits=32))
    full = run_context(strategies={"full": NoOptions()})
    shape = shape_of(full)
    assert strategy.estimate_memory(full, shape) == {"optimizer": 8 * shape.parameters}
    assert strategy.estimate_memory(run_context(), shape) == {}


def test_a_changed_base_weight_keeps_its_first_factors_too(build: Callable[..., Any]) -> None:
    built = build("lora", init="pissa")
    shape = shape_of(built.run)
    estimate = built.strategy.estimate_memory(built.run, shape)
    assert estimate["adapter"] == 2 * estimate["gradients"]
    assert isinstance(built.strategy.options, LoraOptions)
