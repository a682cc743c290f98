"""One chunk of logits, ``[C tokens, W vocabulary entries]``, and what both kernels do with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from anima_core import Head
from anima_longctx.chunks import even_width, spans


@dataclass(frozen=True)
class LogitChunks:
    """The logits of one call, made chunk by chunk.

    Matrix products are in the `compute` dtype, everything else in the `wide` one.

    Attributes:
        head: the output projection.
        chunk_tokens, chunk_vocab: the most tokens and vocabulary entries in a chunk.
        compute: dtype of the matrix products.
    """

    head: Head
    chunk_tokens: int
    chunk_vocab: int
    compute: torch.dtype

    @property
    def wide(self) -> torch.dtype:
        """The dtype of logits, sums and results: float32, or float64 for float64 input."""
        return torch.float64 if self.compute == torch.float64 else torch.float32

    def tokens(self, count: int) -> Iterator[slice]:
        """The chunks of `count` tokens."""
        return spans(count, self.chunk_tokens)

    def vocabulary(self) -> Iterator[tuple[slice, Tensor]]:
        """The chunks of the vocabulary, each with its weights ``[W, H]`` in the compute dtype."""
        vocab = self.head.weight.shape[0]
        for entries in spans(vocab, even_width(vocab, self.chunk_vocab)):
            yield entries, self.head.weight[entries].detach().to(self.compute)

    def logits(self, rows: Tensor, entries: slice, weight: Tensor) -> Tensor:
        """Logits ``[C, W]`` of rows ``[C, H]``; a new tensor, the caller's to overwrite."""
        bias = self.head.bias
        return self.finish(rows @ weight.T, None if bias is None else bias[entries])

    def finish(self, product: Tensor, bias: Tensor | None) -> Tensor:
        """Logits from ``hidden @ weight.T``: bias, scale and cap, in the wide dtype."""
        logits = product.to(self.wide)
        if bias is not None:
            logits = logits + bias.detach().to(self.wide)
        if self.head.scale != 1.0:
            logits = logits * self.head.scale
        if self.head.softcap is not None:
            logits = torch.tanh(logits / self.head.softcap) * self.head.softcap
        return logits

    def slope(self, logits: Tensor) -> Tensor | None:
        """The cap's derivative at capped logits z, ``1 - (z / c)^2``; None without a cap."""
        cap = self.head.softcap
        return None if cap is None else 1 - (logits / cap) ** 2


def local_index(index: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Column numbers made legal for a chunk of `width` columns, and which were legal before."""
    return index.clamp(0, width - 1), (index >= 0) & (index < width)


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """``total += left @ right``: total in the wide dtype, the factors in the compute dtype."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total.add_(left @ right)


def refuse_second_order() -> None:
    """Raise inside a backward pass that is itself to be differentiated (``create_graph=True``).

    Raises:
        RuntimeError: gradients of second order were asked for; they would miss a term.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "xentropy has no gradients of second order (create_graph=True): use plain instead"
        )
