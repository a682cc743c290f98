"""Log-probs the textbook way: all logits of the supervised tokens at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anima_core

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from anima_core.context import RunContext
    from anima_core.contracts import Head, MemoryShape, TokenLogps


class Plain:
    """The default kernel: simple, and ``[tokens, vocabulary]`` in memory."""

    api = 1
    summary = "Log-probs from the whole matrix of logits, by log_softmax"
    slots = ("token_logps",)
    requires = ()
    conflicts = ()
    Options = anima_core.NoOptions

    def __init__(self, options: anima_core.Options) -> None:
        self.options = options

    @anima_core.hookimpl
    def token_logps(self, run: RunContext) -> TokenLogps:  # noqa: ARG002
        """The kernel of this run."""
        return plain_logps

    @anima_core.hookimpl
    def estimate_memory(
        self,
        run: RunContext,  # noqa: ARG002
        shape: MemoryShape,
    ) -> Mapping[str, int]:
        """Logits in the compute dtype and float32, their softmax and gradient."""
        return {"logits": shape.micro_tokens * shape.vocab * 4 * 3}


def plain_logps(hidden: torch.Tensor, head: Head, target: torch.Tensor) -> torch.Tensor:
    """Log-probs of targets; see `anima_core.TokenLogps` for shapes."""
    import torch

    logps = torch.log_softmax(logits_of(hidden, head), dim=-1)
    wanted = target if target.ndim == 2 else target[:, None]
    return logps.gather(1, wanted).view(target.shape)


def logits_of(hidden: torch.Tensor, head: Head) -> torch.Tensor:
    """Logits by `Head`'s formula: hidden ``[..., H]`` to ``[..., V]``, float32 or float64."""
    import torch

    logits = torch.nn.functional.linear(hidden, head.weight.to(hidden.dtype))
    if logits.dtype != torch.float64:
        logits = logits.float()
    if head.bias is not None:
        logits = logits + head.bias.to(logits.dtype)
    logits = logits * head.scale
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    return logits
