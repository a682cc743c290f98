"""Answers to prompts by a model that is in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from anima_core.data.template import prompt_ids
from anima_core.quiet import quiet_libraries

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
) -> list[str]:
    """Answer prompts, all together.

    Args:
        model: a causal language model, its adapter on; left in the mode it was in.
        tokenizer: with its chat template; each prompt becomes one user turn.
        prompts: the users' words.
        max_new_tokens: longest answer, in tokens.
        temperature: 0 for the most likely token, else a sample.

    Returns:
        The answers' text without special tokens, in the order of the prompts.
    """
    encoded = [prompt_ids(tokenizer, [{"role": "user", "content": text}]) for text in prompts]
    longest = max(len(ids) for ids in encoded)
    pad = int(tokenizer.pad_token_id)
    device = next(model.parameters()).device
    ids = torch.tensor([[pad] * (longest - len(e)) + list(e) for e in encoded], device=device)
    mask = torch.tensor([[0] * (longest - len(e)) + [1] * len(e) for e in encoded], device=device)
    training = model.training
    model.eval()
    sampling: dict[str, Any] = (
        {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    )
    try:
        with torch.no_grad(), quiet_libraries():
            output = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                pad_token_id=pad,
                eos_token_id=sorted(stop_tokens(model, tokenizer)),
                use_cache=True,
                **sampling,
            )
    finally:
        model.train(training)
    texts = tokenizer.batch_decode(output[:, longest:], skip_special_tokens=True)
    return [text.strip() for text in texts]


def stop_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that ends an answer: the tokenizer's EOS and the model's own."""
    found = {int(tokenizer.eos_token_id)}
    own = getattr(model.generation_config, "eos_token_id", None)
    if own is not None:
        found |= set(own) if isinstance(own, (list, tuple)) else {int(own)}
    return found
