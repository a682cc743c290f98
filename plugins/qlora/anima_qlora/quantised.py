"""Load a model's weights in 4 or 8 bits, ready to be trained through."""

from __future__ import annotations

import copy
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from anima_core import Attention, RunContext, UsageError
from anima_qlora.int8 import Int8Linear, dequantised, scale_of
from anima_qlora.options import QloraOptions


def load(
    options: QloraOptions, run: RunContext, config: PretrainedConfig, attention: Attention
) -> PreTrainedModel:
    """The model with quantised linear layers; embeddings and head stay in the weights' dtype.

    Raises:
        UsageError: the folder holds no safetensors of a causal language model.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(
            run.model_dir,
            # A copy: transformers writes into the config it is given.
            config=copy.deepcopy(config),
            quantization_config=_quantization(options, run),
            dtype=run.torch_weights_dtype,
            attn_implementation=attention.name,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=run.config.trust_remote_code,
            device_map={"": run.device},
        )
    except OSError as error:
        raise UsageError(
            f"the model cannot be loaded: {str(error).splitlines()[0]}",
            where="MODEL",
            fix="The folder must hold config.json and safetensors of a causal language model.",
        ) from error
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"the model cannot be loaded: {reason}", where="MODEL") from error
    assert isinstance(model, PreTrainedModel)
    for module in model.modules():
        if type(module) is Linear8bitLt:
            module.__class__ = Int8Linear
    keep_differentiable(model)
    keep_norms_in_float32(model)
    return model


def _quantization(options: QloraOptions, run: RunContext) -> Any:
    config: Any = BitsAndBytesConfig
    if options.bits == 8:
        return config(load_in_8bit=True)
    return config(
        load_in_4bit=True,
        bnb_4bit_quant_type=options.quant_type,
        bnb_4bit_use_double_quant=options.double_quant,
        bnb_4bit_compute_dtype=run.torch_dtype,
    )


def keep_differentiable(model: nn.Module) -> None:
    """Keep 4-bit layers from repacking their weights for inference.

    On a CPU with AVX512-BF16 the first forward in evaluation mode repacks a weight in place for a
    kernel without a gradient, and training goes wrong without a word from then on.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def keep_norms_in_float32(model: nn.Module) -> None:
    """Let normalisation layers compute in float32 and answer in their input's dtype.

    QLoRA keeps norms in float32. Answering in float32 as well would carry the residual stream
    and attention over to float32, which no flash kernel takes.
    """
    for module in model.modules():
        if not _is_norm(module) or all(p.dtype == torch.float32 for p in module.parameters()):
            continue
        module.float()
        module.register_forward_pre_hook(_widen)
        module.register_forward_hook(_narrow)


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower() and any(True for _ in module.parameters())


def _widen(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    module._anima_input_dtype = args[0].dtype
    return (args[0].float(), *args[1:])


def _narrow(module: Any, _args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    return output.to(module._anima_input_dtype)


def dequantise(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Turn quantised layers and widened norms back into ordinary ones of a dtype, in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Linear4bit | Linear8bitLt):
            model.set_submodule(name, _plain(module, dtype))
        elif hasattr(module, "_anima_input_dtype") or _narrow in module._forward_hooks.values():
            module.to(dtype)
            _drop(module._forward_pre_hooks, _widen)
            _drop(module._forward_hooks, _narrow)
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None:
        quantizer.remove_quantization_config(model)
    for flag in ("is_loaded_in_4bit", "is_loaded_in_8bit"):
        if hasattr(model, flag):
            delattr(model, flag)


def _drop(hooks: Any, hook: Any) -> None:
    for key in [key for key, value in hooks.items() if value is hook]:
        del hooks[key]


def weight_of(module: Any) -> torch.Tensor:
    """A quantised layer's weight, ``[out, in]`` float32."""
    if isinstance(module, Linear4bit):
        quantised: Any = module.weight
        state = copy.copy(quantised.quant_state)
        state.dtype = torch.float32
        return dequantize_4bit(quantised.data, state)
    return dequantised(module.weight.data, scale_of(module), torch.float32)


def _plain(module: Any, dtype: torch.dtype) -> nn.Module:
    """An ordinary layer of the kind that the quantised one was made from."""
    weight = weight_of(module).to(dtype)
    conv: Any = Conv1D
    transposed = getattr(module, "source_cls", nn.Linear) is Conv1D
    with torch.device("meta"):
        plain: nn.Module = (
            conv(module.out_features, module.in_features)
            if transposed
            else nn.Linear(module.in_features, module.out_features, module.bias is not None)
        )
    plain.weight = nn.Parameter(weight.T.contiguous() if transposed else weight, False)
    if module.bias is not None:
        plain.bias = nn.Parameter(module.bias.data.to(dtype), False)
    return plain.train(module.training)
