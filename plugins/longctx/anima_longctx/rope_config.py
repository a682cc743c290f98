"""What RoPE scaling does to a transformers config. Imports no torch.

linear: position interpolation, Chen et al. 2023, arXiv:2306.15595: every frequency / factor.
dynamic: NTK-aware scaling (bloc97 and emozilla 2023; YaRN paper, §3.1 and §3.3), see `ntk_theta`.
yarn: Peng et al. 2023, arXiv:2309.00071, §3.2 to §3.4.
llama3: the Llama 3.1 release (Llama Team 2024, arXiv:2407.21783; ``apply_scaling`` in its code).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from anima_core import Problem

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from anima_longctx.rope_scaling import RopeScalingOptions

FLAG = "--rope-scaling"
MARK = "anima_rope_scaling"
"""Attribute of a scaled config that says how it was scaled; it is saved with the config."""

LOCAL = frozenset({"sliding_attention"})
"""Layer types that look back less far than any window, and so need no scaling."""
NESTED = frozenset({"full_attention"}) | LOCAL


def windows(config: PretrainedConfig, options: RopeScalingOptions) -> tuple[int, int]:
    """The window before scaling and after, in tokens."""
    original = options.original_max_position_embeddings or config.max_position_embeddings
    return original, round(original * options.factor)


def obstacle(config: PretrainedConfig, options: RopeScalingOptions) -> Problem | None:
    """Why a text model's config cannot be scaled, or None."""
    parameters = getattr(config, "rope_parameters", None)
    if not parameters or not getattr(config, "max_position_embeddings", None):
        what = f"a {config.model_type} model has no rotary positions to scale"
        return Problem(FLAG, what, f"Leave out {FLAG}.")
    entries = _entries(config)
    if not entries or not NESTED.issuperset(set(entries) - {""}):
        kinds = ", ".join(sorted(entries))
        what = f"this model's rotary positions differ by kinds of layers not known here: {kinds}"
        return Problem(FLAG, what, f"Leave out {FLAG}.")
    scaled = [entry["rope_type"] for entry in entries.values() if entry["rope_type"] != "default"]
    before = getattr(config, MARK, None) or (scaled[0] if scaled else None)
    if before is not None:
        what = f"this model's rotary positions are scaled already ({before})"
        fix = f"Leave out {FLAG}; its window is {config.max_position_embeddings} tokens."
        return Problem(FLAG, what, fix)
    original, target = windows(config, options)
    if target <= config.max_position_embeddings:
        what = (
            f"{original} x {options.factor:g} is no longer than the model's window of "
            f"{config.max_position_embeddings} tokens"
        )
        return Problem(f"{FLAG}.factor", what, "Give a greater factor.")
    return _refused_by_model(config, options)


def _refused_by_model(config: PretrainedConfig, options: RopeScalingOptions) -> Problem | None:
    """What the config's own check says of itself once scaled: Phi-3 takes no foreign type."""
    trial = copy.deepcopy(config)
    scale(trial, options)
    try:
        trial.validate_rope()
    except (ValueError, KeyError) as error:
        what = f"a {config.model_type} model takes no {options.type} scaling: {error}"
        return Problem(f"{FLAG}.type", what, "Choose another type.")
    return None


def scale(config: PretrainedConfig, options: RopeScalingOptions) -> None:
    """Scale a text model's config in place; `obstacle` has said that it can be."""
    original, target = windows(config, options)
    entries = _entries(config)
    for name, entry in entries.items():
        if name not in LOCAL:
            entries[name] = entry | _changes(config, entry, options, original)
    config.rope_parameters = entries.get("") or {**config.rope_parameters, **entries}
    if getattr(config, "original_max_position_embeddings", None):
        config.original_max_position_embeddings = original
    config.max_position_embeddings = target
    setattr(config, MARK, options.type)


def ntk_theta(theta: float, factor: float, dim: int) -> float:
    """The base of the frequencies under dynamic NTK scaling, fixed at the target window.

    At a length S, over an original window L, dynamic scaling takes the base
    ``theta (factor S / L - (factor - 1)) ** (dim / (dim - 2))``. Left to itself it takes S from
    the longest segment in flight, so that a segment's result depends on its neighbours. Here S is
    the target window, ``factor L``, whatever is in flight, and the base is the constant
    ``theta (factor^2 - factor + 1) ** (dim / (dim - 2))``.

    Args:
        theta: the model's base.
        factor: how many times longer the window gets.
        dim: rotary dimensions of a head.
    """
    return float(theta * (factor**2 - factor + 1) ** (dim / (dim - 2)))


def _entries(config: PretrainedConfig) -> dict[str, dict[str, Any]]:
    """Copies of the config's RoPE parameters by layer type; of all layers under ``""``."""
    parameters = config.rope_parameters
    nested = {name: value for name, value in parameters.items() if isinstance(value, dict)}
    found = nested or {"": parameters}
    return {name: {"rope_type": "default", **entry} for name, entry in found.items()}


def _changes(
    config: PretrainedConfig, entry: dict[str, Any], options: RopeScalingOptions, original: int
) -> dict[str, Any]:
    """What changes in the RoPE parameters of one kind of layer."""
    if options.type == "dynamic":
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        dim = int(head * entry.get("partial_rotary_factor", 1.0))
        return {"rope_theta": ntk_theta(entry["rope_theta"], options.factor, dim)}
    changes: dict[str, Any] = {"rope_type": options.type, "factor": options.factor}
    if options.type == "yarn":
        changes |= {
            "original_max_position_embeddings": original,
            "beta_fast": options.beta_fast or 32.0,
            "beta_slow": options.beta_slow or 1.0,
        }
        if options.attention_factor is not None:
            changes["attention_factor"] = options.attention_factor
    elif options.type == "llama3":
        changes |= {
            "original_max_position_embeddings": original,
            "low_freq_factor": options.low_freq_factor or 1.0,
            "high_freq_factor": options.high_freq_factor or 4.0,
        }
    return changes
