"""Put LoRA on a model with peft, and say how it is saved, loaded, switched off and merged."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from anima_core import Adapter, RunContext, UsageError
from anima_qlora.base_config import save_base_config
from anima_qlora.options import ALL_LINEAR, MUTATING, LoraOptions
from anima_qlora.quantised import dequantise, keep_differentiable
from anima_qlora.saved import load_adapter, save_adapter


def adapt(word: str, options: LoraOptions, run: RunContext, model: PreTrainedModel) -> Adapter:
    """Freeze a model and add trainable LoRA factors in float32 (Hu et al. 2021, eq. 3).

    Args:
        word: the strategy's name, for messages.
        options: its options.
        run: the run.
        model: the base model; peft puts its layers into it.

    Raises:
        UsageError: no layer is adapted.
    """
    keep_differentiable(model)
    peft_model = add_lora(model, peft_config(options, options.init))
    if options.init == "orthogonal":
        layers: list[Any] = [m for m in peft_model.modules() if isinstance(m, LoraLayer)]
        for module in layers:
            orthogonal(module.lora_A["default"].weight, module.lora_B["default"].weight)
    peft_model.peft_config["default"].base_model_name_or_path = base_name(run)
    trainable = {n: p for n, p in peft_model.named_parameters() if p.requires_grad}
    if not trainable:
        raise UsageError("no layer of the model is adapted", where=f"--{word}.targets")
    # An initialisation that changed the base weight is saved as the difference from its start.
    initial = factors(peft_model) if options.init in MUTATING else None

    def save(folder: Path) -> None:
        save_adapter(peft_model, initial, folder)
        save_base_config(run, folder)

    def load(folder: Path) -> None:
        load_adapter(word, options, peft_model, initial, folder)

    def merge() -> PreTrainedModel:
        return merged(options, peft_model, run.torch_weights_dtype)

    # Switched off, a changed base weight would be another model than the one that was loaded.
    disabled: Callable[[], AbstractContextManager[None]] | None = (
        peft_model.disable_adapter if initial is None else None
    )
    shown: Any = peft_model
    return Adapter(shown, trainable, save, load, merge, disabled)


def peft_config(options: LoraOptions, init: str) -> LoraConfig:
    """The configuration that peft wants."""
    # peft makes orthogonal factors in the base weight's dtype, which no quantised weight has.
    names: dict[str, Any] = {"default": True, "orthogonal": True}
    alpha: Any = int(options.alpha) if float(options.alpha).is_integer() else options.alpha
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=options.r,
        lora_alpha=alpha,
        lora_dropout=options.dropout,
        target_modules=ALL_LINEAR if options.all_linear else list(options.targets),
        use_rslora=options.rslora,
        use_dora=options.dora,
        init_lora_weights=names.get(init, init),
        bias="none",
    )


def add_lora(model: PreTrainedModel, config: LoraConfig) -> PeftModel:
    """Put LoRA layers into a model; the factors are float32, everything else is frozen."""
    with warnings.catch_warnings():
        # peft speaks of GPT-2's transposed layers, of tied heads and of a second adapter, all of
        # which are as they should be here.
        warnings.simplefilter("ignore")
        peft_model = get_peft_model(model, config, autocast_adapter_dtype=True)
    for parameter in peft_model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32).contiguous()
    return peft_model


def orthogonal(a: torch.Tensor, b: torch.Tensor) -> None:
    """Fill A and B with random factors whose product BA is zero, in place.

    A is spanned by the even rows of a random orthogonal ``[r, r]`` matrix and B by the odd ones,
    both scaled by 1/10, as peft does it (https://datta0.github.io/posts/rethink-lora-init).

    Args:
        a: ``[r, in]`` float32; r is even.
        b: ``[out, r]`` float32.
    """
    rank = a.shape[0]
    rows, _ = torch.linalg.qr(torch.randn(rank, rank))
    with torch.no_grad():
        a.copy_((torch.randn(a.shape[1], rank // 2) @ rows[0::2]).T / 10)
        b.copy_((torch.randn(b.shape[0], rank // 2) @ rows[1::2]) / 10)


def factors(peft_model: PeftModel) -> dict[str, torch.Tensor]:
    """A copy of the adapter's tensors, by the names that peft saves them under."""
    state = get_peft_model_state_dict(peft_model, save_embedding_layers=False)
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def merged(options: LoraOptions, peft_model: PeftModel, dtype: torch.dtype) -> PreTrainedModel:
    """The plain model with the update added to its weights.

    Quantised weights are restored first: added to them in their few bits, a small update would
    be rounded away.
    """
    if _quantised(peft_model):
        state = factors(peft_model)
        base: Any = peft_model.unload()
        dequantise(base, dtype)
        peft_model = add_lora(base, peft_config(options, "default"))
        set_peft_model_state_dict(peft_model, state)
    model: Any = peft_model.merge_and_unload(progressbar=False)
    assert isinstance(model, PreTrainedModel)
    return model


def _quantised(model: Any) -> bool:
    base = model.get_base_model()
    return bool(
        getattr(base, "is_loaded_in_4bit", False) or getattr(base, "is_loaded_in_8bit", False)
    )


def base_name(run: RunContext) -> str:
    """What to call the base model in a saved adapter: its hub id, or else its folder."""
    name = run.config.model
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).exists():
        return name
    return str(run.model_dir)
