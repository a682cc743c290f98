"""Which layers an adapter goes on, known from the model's config alone."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from anima_core import RunContext, UsageError
from anima_qlora.options import LoraOptions

Shape = tuple[int, int]


class Layers(NamedTuple):
    """A model's linear layers.

    Attributes:
        shapes: (out, in) of each but the head, by name.
        head: the head's name.
        transposed: whether some of them keep their weight as ``[in, out]`` (GPT-2).
    """

    shapes: Mapping[str, Shape]
    head: str
    transposed: bool


def linear_layers(run: RunContext) -> Layers:
    """Every linear layer of the model but its head, without reading a weight.

    Raises:
        UsageError: transformers cannot build the model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    build: Any = AutoModelForCausalLM
    try:
        with torch.device("meta"):
            model = build.from_config(
                copy.deepcopy(run.model_config),
                trust_remote_code=run.config.trust_remote_code,
            )
    except (ImportError, KeyError, ValueError) as error:
        raise UsageError(
            f"the model cannot be built: {str(error).splitlines()[0]}", where="MODEL"
        ) from error
    head = model.get_output_embeddings()
    shapes: dict[str, Shape] = {}
    head_name, transposed = "", False
    for name, module in model.named_modules():
        if module is head:
            head_name = name
        elif isinstance(module, torch.nn.Linear):
            shapes[name] = (module.out_features, module.in_features)
        elif _is_transposed(module):
            transposed = True
            shapes[name] = (int(module.weight.shape[1]), int(module.weight.shape[0]))
    return Layers(shapes, head_name, transposed)


def _is_transposed(module: Any) -> bool:
    """GPT-2's linear layer, whose weight is ``[in, out]``."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def matches(target: str, name: str) -> bool:
    """Whether a target names a layer: the whole name, or its end after a dot (peft's rule)."""
    return name == target or name.endswith(f".{target}")


def selected(options: LoraOptions, layers: Mapping[str, Shape]) -> dict[str, Shape]:
    """The layers that are adapted."""
    if options.all_linear:
        return dict(layers)
    return {n: s for n, s in layers.items() if any(matches(t, n) for t in options.targets)}


def unknown(options: LoraOptions, layers: Iterable[str]) -> list[str]:
    """The targets that name no linear layer."""
    names = list(layers)
    if options.all_linear:
        return []
    return [t for t in options.targets if not any(matches(t, n) for n in names)]


def short_names(layers: Iterable[str]) -> Sequence[str]:
    """The layers' own names, each once, in the model's order: what a target may be."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name in layers))
