"""How a segment attention reaches a transformers model, without a mask and without a patch.

transformers looks its attention function up by name (`ALL_ATTENTION_FUNCTIONS`), and hands it
every keyword argument of the model's forward. The core passes ``segments=batch.layout``; the
function registered here turns transformers' ``[1, heads, N, D]`` into ``[N, heads, D]`` and calls
the strategy's kernel. Without ``segments`` (generation, with a KV cache and padding) the mask that
transformers made decides, as in its own SDPA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from anima_core.batch import Segment

if TYPE_CHECKING:
    import torch

    from anima_core.batch import Batch

TRANSFORMERS_WORDS = ("sdpa", "flash", "flex", "eager", "paged")
"""Words by which transformers knows an attention of its own: no other may have one in its name."""


class SegmentAttend(Protocol):
    """An attention kernel over segments laid end to end."""

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        layout: tuple[Segment, ...],
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> torch.Tensor:
        """Causal attention within each segment, and from a continuation to its whole parent.

        Args:
            query: ``[N, Hq, D]``.
            key, value: ``[N, Hk, D]``; Hq is a multiple of Hk.
            layout: the segments; together they cover the N tokens in order.
            scale: factor on the scores.
            window: a token sees itself and the ``window - 1`` tokens before it; None for all.
            softcap: c in ``c * tanh(score / c)``, or None.

        Returns:
            ``[N, Hq, D]``, differentiable by query, key and value.
        """
        ...


def segment_arguments(batch: Batch) -> dict[str, Any]:
    """Keyword arguments of a model's forward that run a batch of segments.

    The one-element 4-D mask is never read: transformers passes a 4-D mask through as it is, and
    so builds no ``[N, N]`` mask of its own.
    """
    import torch

    return {
        "input_ids": batch.ids[None],
        "position_ids": batch.positions[None],
        "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool, device=batch.ids.device),
        "segments": batch.layout,
        "use_cache": False,
    }


def register_segment_attention(name: str, attend: SegmentAttend) -> None:
    """Register a kernel with transformers under a name of its own.

    Args:
        name: the name for ``attn_implementation``.
        attend: the kernel.

    Raises:
        ValueError: transformers would take the name for an implementation of its own.
    """
    if any(word in name for word in TRANSFORMERS_WORDS):
        raise ValueError(f"{name!r} reads like an attention of transformers' own; choose another")
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def forward(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        layout = kwargs.pop("segments", None)
        if kwargs.get("s_aux") is not None:
            raise NotImplementedError("attention sinks are not supported by segment attention")
        if layout is None:
            return _generation(module, query, key, value, attention_mask, **kwargs)
        scale = kwargs.get("scaling")
        output = attend(
            query[0].transpose(0, 1),
            key[0].transpose(0, 1),
            value[0].transpose(0, 1),
            layout=layout,
            scale=float(scale) if scale is not None else query.shape[-1] ** -0.5,
            window=kwargs.get("sliding_window"),
            softcap=kwargs.get("softcap"),
        )
        return output[None], None

    ALL_ATTENTION_FUNCTIONS.register(name, forward)
    ALL_MASK_ATTENTION_FUNCTIONS.register(name, sdpa_mask)


def _generation(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention without segments: transformers' own SDPA, or an exact eager one for a soft-cap."""
    import torch
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    softcap = kwargs.pop("softcap", None)
    if softcap is None:
        output, _ = sdpa_attention_forward(module, query, key, value, mask, **kwargs)
        return output, None
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * scale / softcap)
    if mask is None and query.shape[2] > 1:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), None
