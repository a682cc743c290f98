"""The strategy ``xentropy``: log-probs in chunks, so logits never stand in memory together."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

import anima_core

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anima_core import MemoryShape, RunContext, TokenLogps


class XentropyOptions(anima_core.Options):
    """Options of ``xentropy``: the size of the one chunk of logits that exists at a time."""

    chunk_tokens: int = Field(default=1024, ge=1, description="Supervised tokens in a chunk.")
    chunk_vocab: int = Field(
        default=4096,
        ge=1,
        description="Vocabulary entries in a chunk; never more than half of the vocabulary.",
    )


class Xentropy:
    """Answers ``token_logps`` with a kernel whose memory does not grow with the vocabulary."""

    api: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "Log-probs from hidden states in chunks; logits are never all in memory"
    )
    slots: ClassVar[tuple[str, ...]] = ("token_logps",)
    requires: ClassVar[tuple[str, ...]] = ()
    conflicts: ClassVar[tuple[str, ...]] = ()
    Options = XentropyOptions

    def __init__(self, options: XentropyOptions) -> None:
        self.options = options

    @anima_core.hookimpl
    def token_logps(self, run: RunContext) -> TokenLogps:  # noqa: ARG002
        """The kernel of this run; it follows its inputs to any device and dtype."""
        from anima_longctx.chunked_logps import ChunkedLogps

        return ChunkedLogps(self.options.chunk_tokens, self.options.chunk_vocab)

    @anima_core.hookimpl
    def estimate_memory(self, run: RunContext, shape: MemoryShape) -> Mapping[str, int]:
        """Bytes of one chunk of logits and of what is kept from forward to backward."""
        from anima_longctx.chunks import even_width

        tokens = min(self.options.chunk_tokens, shape.micro_tokens)
        width = even_width(shape.vocab, self.options.chunk_vocab)
        copies = 4 if run.dtype == "float32" else 4 + 2 + 2
        chunk = tokens * width * copies + width * shape.hidden * 4
        kept = shape.micro_tokens * shape.hidden * 4
        return {"logits": chunk + kept}
