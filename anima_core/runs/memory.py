"""Will it fit? Bytes by component, estimated from the config alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from anima_core.contracts import MemoryShape
from anima_core.quiet import quiet_libraries

if TYPE_CHECKING:
    from anima_core.context import RunContext
    from anima_core.contracts import Loss
    from anima_core.registry.selection import Selection


def estimate_memory(
    run: RunContext, selection: Selection, loss: Loss | None = None
) -> Mapping[str, int]:
    """Ask every strategy for its component, and add the activations.

    A loss that looks at hidden states may bring a head of its own, and there are no logits then.
    """
    shape = memory_shape(run)
    adapt = selection.providers["adapt_model"]
    for provider, part in selection.call_stack("estimate_memory", run=run, shape=shape):
        if provider is adapt:
            shape = replace(shape, trainable=part.get("gradients", 0) // 4)
    estimate = {"activations": activation_bytes(run, shape)}
    for _provider, part in selection.call_stack("estimate_memory", run=run, shape=shape):
        estimate.update(part)
    if loss is not None and loss.needs == "hidden":
        from anima_core.training.heads import head_bytes

        estimate.pop("logits", None)
        estimate["head"] = head_bytes(loss, shape.hidden)
    return estimate


def frozen_weights(beside: RunContext, selection: Selection) -> int:
    """Bytes of a model that is only asked, its adapter counted in.

    Args:
        beside: its own context.
        selection: the strategies that load it.
    """
    parts = estimate_memory(beside, selection)
    return sum(parts.get(name, 0) for name in ("weights", "adapter"))


def reference_bytes(run: RunContext, selection: Selection, loss: Loss | None) -> int:
    """Bytes of the model that a loss names as its reference, as it is asked before training.

    Whether its log-probs are cached is not looked at. It is freed before the model to train is
    loaded, so a run's peak is the larger of the two, and not their sum. 0 where the reference is
    the policy, or cannot be had (see `reference_problems`).

    Args:
        run: the run.
        selection: its strategies.
        loss: its loss.
    """
    from anima_core.errors import AnimaError
    from anima_core.model.frozen import CHUNK_TOKENS, frozen_source
    from anima_core.training.reference_pass import forward_bytes, tokens_in_flight

    source = getattr(loss, "reference_model", None)
    if loss is None or not isinstance(source, str) or not loss.uses_reference:
        return 0
    try:
        _, theirs, beside = frozen_source(run, source)
        held, shape = frozen_weights(beside, theirs), memory_shape(beside)
    except AnimaError:
        return 0
    tokens = tokens_in_flight(run, selection, beside, held)
    logits = min(CHUNK_TOKENS, tokens) * shape.vocab * 4  # float32
    return held + forward_bytes(run, replace(shape, micro_tokens=tokens)) + logits


def memory_shape(run: RunContext) -> MemoryShape:
    """The model's sizes, from a model without storage."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    config = copy.deepcopy(run.model_config)
    with torch.device("meta"), quiet_libraries():
        model = AutoModelForCausalLM.from_config(
            config, trust_remote_code=run.config.trust_remote_code
        )
    head = model.get_output_embeddings()
    # GPT-2's linear layers are Conv1D, whose weight lies the other way round.
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    turned = [m for m in model.modules() if isinstance(m, Conv1D)]
    shapes = tuple(
        [(m.out_features, m.in_features) for m in linears]
        + [(m.weight.shape[1], m.weight.shape[0]) for m in turned]
    )
    return MemoryShape(
        parameters=sum(p.numel() for p in model.parameters()),
        linear_parameters=sum(out * into for out, into in shapes),
        linear_shapes=shapes,
        layers=int(getattr(config, "num_hidden_layers", 0)),
        hidden=int(getattr(config, "hidden_size", 0)),
        intermediate=int(getattr(config, "intermediate_size", 0) or 4 * config.hidden_size),
        vocab=int(config.vocab_size),
        micro_tokens=run.config.micro_tokens,
    )


def activation_bytes(run: RunContext, shape: MemoryShape) -> int:
    """Activations kept for the backward pass, tokens in flight x layers x saved tensors.

    A decoder block keeps about 12 tensors of the hidden size (norms' inputs in float32, queries,
    keys, values, attention output, residuals) and 5 of the intermediate size; with gradient
    checkpointing only its input, and one block at a time in full.
    """
    item = 4 if run.dtype == "float32" else 2
    block = (12 * shape.hidden + 5 * shape.intermediate) * item
    if run.config.gradient_checkpointing:
        per_token = shape.layers * shape.hidden * item + block
    else:
        per_token = shape.layers * block
    return shape.micro_tokens * per_token
