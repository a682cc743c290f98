"""Sample answers before, during and after training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anima_core.answer import answers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def take_samples(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    step: int,
    max_new_tokens: int,
) -> list[dict[str, Any]]:
    """Answer every prompt greedily; rows of ``samples.jsonl``."""
    texts = answers(model, tokenizer, prompts, max_new_tokens=max_new_tokens)
    return [
        {"step": step, "prompt": prompt, "answer": answer}
        for prompt, answer in zip(prompts, texts, strict=True)
    ]
