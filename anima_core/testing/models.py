"""Random models small enough for a unit test, each with what makes its family hard.

Sizes: 2 layers, hidden 64, 4 heads of 16 (2 key/value heads), a window of 512 positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from anima_core.quiet import quiet_libraries
from anima_core.testing.tokenizer import tiny_tokenizer

Family = Literal["llama", "qwen2", "qwen3", "mistral", "gemma2", "gpt2"]
WINDOW = 6
"""Sliding window of the families that have one; `random_examples` are longer."""

_COMMON: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    # Large enough for attention to be far from uniform, so that a leak shows.
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
_OWN: Mapping[str, Mapping[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {},
    "mistral": {"sliding_window": WINDOW},
    "gemma2": {
        "sliding_window": WINDOW,
        "attn_logit_softcapping": 1.0,
        "final_logit_softcapping": 2.0,
        "query_pre_attn_scalar": 8,
    },
    "gpt2": {
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
        "n_inner": 128,
        "n_positions": 512,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    },
}
FAMILIES = tuple(_OWN)
"""Names of the families that `tiny_model` knows."""


def tiny_config(
    family: Family = "llama", *, vocab: int = 320, **overrides: Any
) -> PretrainedConfig:
    """The config of a tiny model.

    Args:
        family: which architecture.
        vocab: rows of the embedding; at least the 259 of `tiny_tokenizer` to be used with it.
        overrides: further fields of the config.

    Raises:
        ValueError: an unknown family.
    """
    if family not in _OWN:
        raise ValueError(f"unknown family {family!r}; there are {', '.join(FAMILIES)}")
    common = dict(_COMMON)
    if family == "gpt2":  # its own names for the same sizes
        common = {k: v for k, v in common.items() if k.endswith(("_id", "_range"))}
    config = AutoConfig.for_model(
        family, **{**common, **_OWN[family], "vocab_size": vocab, **overrides}
    )
    assert isinstance(config, PretrainedConfig)
    return config


def tiny_model(
    family: Family = "llama",
    seed: int = 0,
    *,
    vocab: int = 320,
    attn_implementation: str = "eager",
    **overrides: Any,
) -> PreTrainedModel:
    """A random float32 model on the CPU, in evaluation mode, without dropout.

    The same arguments give the same weights; the global random state is left as it was. Norms and
    biases are random too, so that one which is left out shows.

    Args:
        family: ``llama`` (tied head), ``qwen2`` (tied, biases), ``qwen3`` (query and key norms,
            untied), ``mistral`` (untied, sliding window of 6), ``gemma2`` (tied, window on every
            other layer, soft-caps on attention and logits) or ``gpt2`` (tied, learned positions,
            no RoPE, transposed linear layers).
        seed: of the weights.
        vocab: rows of the embedding.
        attn_implementation: name of a registered attention.
        overrides: further fields of the config.
    """
    config = tiny_config(family, vocab=vocab, **overrides)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            config, attn_implementation=attn_implementation, dtype=torch.float32
        )
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter), alpha=0.1)
    assert isinstance(model, PreTrainedModel)
    model.train(False)
    return model


def save_tiny(
    path: Path, family: Family = "llama", seed: int = 0, *, vocab: int = 320, **overrides: Any
) -> Path:
    """Write a tiny model and its tokenizer as a model folder (safetensors).

    Args:
        path: the folder; made when missing.
        family, seed, vocab, overrides: as in `tiny_model`.

    Returns:
        The folder, to be named as MODEL on a command line.
    """
    model = tiny_model(family, seed, vocab=vocab, **overrides)
    with quiet_libraries():
        model.save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path
