"""A model taken apart: the backbone that gives hidden states, and the head that scores them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anima_core.contracts import Head
from anima_core.errors import UsageError
from anima_core.loss.plain import logits_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def unwrap(model: Any) -> PreTrainedModel:
    """The causal language model inside an adapter's model (PEFT injects its layers in place)."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    unwrapped: PreTrainedModel = inner
    return unwrapped


def backbone(model: PreTrainedModel) -> torch.nn.Module:
    """The module that turns token ids into last hidden states."""
    module = getattr(model, model.base_model_prefix, None)
    if module is None or module is model:
        raise UsageError(
            f"{type(model).__name__} has no separate backbone, so its head cannot be told apart",
            where="MODEL",
        )
    found: torch.nn.Module = module
    return found


def head_of(model: PreTrainedModel) -> Head:
    """The output projection, with the bias, soft-cap and scale that the config names."""
    layer = model.get_output_embeddings()
    config = model.config
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    if divisor := getattr(config, "logits_scaling", None):
        scale /= float(divisor)
    softcap = getattr(config, "final_logit_softcapping", None)
    return Head(
        layer.weight,
        getattr(layer, "bias", None),
        float(softcap) if softcap is not None else None,
        scale,
    )


def check_head(model: PreTrainedModel) -> None:
    """Compare the head's logits with the model's own on a few tokens.

    A model whose forward does something else to its logits would otherwise be trained on a
    wrong loss without a word.

    Raises:
        UsageError: they differ.
    """
    import torch

    head = head_of(model)
    ids = torch.arange(1, 9, device=head.weight.device)[None] % head.weight.shape[0]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            hidden = backbone(model)(input_ids=ids, use_cache=False).last_hidden_state
            own = model(input_ids=ids, use_cache=False).logits.float()
            logits = logits_of(hidden, head)
    finally:
        model.train(training)
    tolerance = 1e-3 if hidden.dtype == torch.float32 else 5e-2
    if not torch.allclose(logits, own, rtol=tolerance, atol=tolerance * float(own.abs().max())):
        raise UsageError(
            f"{type(model).__name__} does more to its logits than a linear head, a scale and a "
            "soft-cap, so the loss would be wrong",
            where="MODEL",
            fix="Use a model with an ordinary head.",
        )
