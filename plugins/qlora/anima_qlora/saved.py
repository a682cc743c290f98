"""An adapter in a folder, in peft's layout: ``adapter_config.json`` and safetensors."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from anima_core import UsageError
from anima_qlora.options import LoraOptions

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
INIT = "anima_init"
"""Key of the file's metadata: the initialisation, where it had changed the base weight."""

Tensors = dict[str, torch.Tensor]


def save_adapter(
    model: PeftModel, initial: Mapping[str, torch.Tensor] | None, folder: Path
) -> None:
    """Write the adapter; float32 tensors keep every bit.

    An initialisation that moved B0 A0 from the base weight W into the adapter is written as an
    adapter of twice the rank on W itself, which any reader of peft's layout understands:
    ``W - s B0 A0 + s B A = W + s [B, -B0] [A; A0]``.

    Args:
        model: the adapted model.
        initial: the factors it started from, where its base weight was changed by them.
        folder: exists and is empty.
    """
    config: Any = copy.deepcopy(model.peft_config["default"])
    tensors = _own(model)
    metadata = {"format": "pt"}
    if initial is not None:
        metadata[INIT] = str(config.init_lora_weights)
        tensors = {name: _joined(name, t, initial[name]) for name, t in tensors.items()}
        scaling = config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r)
        alpha = scaling * 2 * config.r
        config.lora_alpha = int(alpha) if float(alpha).is_integer() else alpha
        config.r, config.use_rslora, config.init_lora_weights = 2 * config.r, False, True
    if not isinstance(config.target_modules, str):
        config.target_modules = sorted(config.target_modules)
    config.inference_mode = True
    config.save_pretrained(str(folder))
    save_file(
        {n: t.detach().cpu().contiguous() for n, t in tensors.items()}, folder / WEIGHTS, metadata
    )


def load_adapter(
    word: str,
    options: LoraOptions,
    model: PeftModel,
    initial: Tensors | None,
    folder: Path,
) -> None:
    """Read an adapter into the model, bit for bit.

    Args:
        word: the strategy's name, for the options named in messages.
        options: its options.
        model: the adapted model.
        initial: the factors that the base weight was changed by, or None; brought up to date.
        folder: what `save_adapter` (or peft) wrote.

    Raises:
        UsageError: naming each difference and the option to change.
    """
    config = _read_config(folder)
    tensors, init = _read_tensors(folder)
    _check_kind(word, config, folder, init, initial is not None)
    _check_options(word, options, config, folder, init if initial is not None else "")
    start: Tensors = {}
    if initial is not None:
        tensors, start = _split(tensors, options.r)
    _check_tensors(word, _own(model), tensors, folder)
    set_peft_model_state_dict(model, tensors)
    if initial is not None:
        _move_base(model, initial, start)


def _own(model: PeftModel) -> Tensors:
    state: Tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    return state


def _joined(name: str, now: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """``[A; A0]`` ``[2r, in]``, or ``[B, -B0]`` ``[out, 2r]``."""
    if ".lora_A." in name:
        return torch.cat([now, start.to(now.device)], dim=0)
    return torch.cat([now, -start.to(now.device)], dim=1)


def _split(tensors: Tensors, r: int) -> tuple[Tensors, Tensors]:
    """Undo `_joined`: the factors, and those they started from."""
    now: Tensors = {}
    start: Tensors = {}
    for name, tensor in tensors.items():
        if ".lora_A." in name:
            now[name], start[name] = tensor[:r].contiguous(), tensor[r:].contiguous()
        else:
            now[name], start[name] = tensor[:, :r].contiguous(), -tensor[:, r:].contiguous()
    return now, start


def _move_base(model: PeftModel, initial: Tensors, start: Tensors) -> None:
    """Let the base weight be the one that the saved adapter was trained on.

    The same initialisation on another machine gives factors that differ in rounding; what it
    took out of the base weight is put back, and what the saved one took is taken.
    """
    if all(torch.equal(initial[n], t.to(initial[n])) for n, t in start.items()):
        return
    kept = {n: t.detach().clone() for n, t in _own(model).items()}
    layers: list[Any] = [m for m in model.modules() if isinstance(m, LoraLayer)]
    for sign, values in ((1, initial), (-1, start)):
        set_peft_model_state_dict(model, values)
        with torch.no_grad():
            for layer in layers:
                weight = layer.get_base_layer().weight
                weight += sign * layer.get_delta_weight("default").to(weight.dtype)
    set_peft_model_state_dict(model, kept)
    initial.update(start)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder} holds no readable {CONFIG}", fix="Name a finished run."
        ) from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise UsageError(f"{folder / CONFIG} does not describe a LoRA adapter")
    return config


def _read_tensors(folder: Path) -> tuple[Tensors, str]:
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata.get(INIT, "")  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"{folder} holds no readable {WEIGHTS}",
            fix="Only safetensors are read; a pickled adapter has to be converted first.",
        ) from error


def _check_kind(
    word: str, config: Mapping[str, Any], folder: Path, init: str, mutating: bool
) -> None:
    """Refuse what would be read wrongly, whatever the options."""
    if config.get("modules_to_save") or config.get("bias", "none") != "none":
        raise UsageError(f"the adapter in {folder} trains more than LoRA factors")
    if config.get("alpha_pattern") or config.get("rank_pattern"):
        raise UsageError(f"the adapter in {folder} has ranks or scales of its own for some layers")
    start = str(config.get("init_lora_weights"))
    if start.startswith(("pissa", "olora", "corda", "loftq", "lora_ga")):
        raise UsageError(
            f"the adapter in {folder} belongs to a base weight that {start} has changed",
            fix="Convert it to plain LoRA first: save_pretrained(path, "
            "path_initial_model_for_weight_conversion=...) of peft.",
        )
    if mutating and not init:
        raise UsageError(
            f"the adapter in {folder} is plain LoRA",
            where=f"--{word}.init",
            fix=f"Use --{word}.init default.",
        )


def _check_options(
    word: str, options: LoraOptions, config: Mapping[str, Any], folder: Path, init: str
) -> None:
    r, alpha = int(config["r"]), float(config["lora_alpha"])
    rslora, dora = bool(config.get("use_rslora")), bool(config.get("use_dora"))
    flags: dict[str, tuple[object, object]] = {
        "rslora": (rslora, options.rslora),
        "dora": (dora, options.dora),
        "r": (r, options.r),
        "alpha": (alpha, options.alpha),
    }
    if init:  # written with twice the rank, and alpha to match
        flags = {
            "init": (init, options.init),
            "r": (r // 2, options.r),
            "scaling": (round(alpha / r, 9), round(options.scaling, 9)),
        }
    wrong = [(name, saved) for name, (saved, own) in flags.items() if saved != own]
    if wrong:
        raise UsageError(
            f"the adapter in {folder} was trained with other options",
            where=f"--{word}",
            fix="Use " + " ".join(_flag(word, name, value) for name, value in wrong) + ".",
        )


def _flag(word: str, name: str, value: object) -> str:
    text = (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else value
    )
    return f"--{word}.{name} {text}"


def _check_tensors(word: str, own: Tensors, saved: Tensors, folder: Path) -> None:
    more, less = sorted(set(saved) - set(own)), sorted(set(own) - set(saved))
    if more or less:
        said = [f"it adapts {_layers(more)} too"] if more else []
        said += [f"it does not adapt {_layers(less)}"] if less else []
        raise UsageError(
            f"the adapter in {folder} has other layers: {', and '.join(said)}",
            where=f"--{word}.targets",
            fix=f"Use --{word}.targets {_layers(sorted(saved))}.",
        )
    wrong = [name for name, tensor in saved.items() if own[name].shape != tensor.shape]
    if wrong:
        raise UsageError(
            f"{wrong[0]} in {folder} is {list(saved[wrong[0]].shape)}, "
            f"here it is {list(own[wrong[0]].shape)}",
            where="MODEL",
            fix="Use the base model that the adapter was trained on.",
        )


def _layers(names: list[str]) -> str:
    """The layers' own names, each once, of saved tensors' names."""
    short = [name.partition(".lora_")[0].rpartition(".")[2] for name in names]
    return ",".join(dict.fromkeys(short))
