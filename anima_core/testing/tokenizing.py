"""Check of a tokenizer loader: pad, EOS, chat template, and text that survives."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from anima_core.quiet import quiet_libraries
from anima_core.testing.context import run_context
from anima_core.testing.instances import call
from anima_core.testing.tokenizer import tiny_tokenizer

TEXTS = (
    "Say it in one word.",
    "2026-01-31: 1,234.5 kg",
    "def f(x):\n    return x  # twice  spaced\n",
    "naïve café, Straße, 日本語, 🙂",
)
DIALOGUE = (
    {"role": "user", "content": "How many legs has a spider?"},
    {"role": "assistant", "content": "Eight legs."},
)


def check_tokenizer(load: Callable[..., PreTrainedTokenizerBase]) -> None:
    """A tokenizer loader settles what data and generation rely on.

    Given a folder with a tokenizer, and the same one without a padding token: the tokenizer is a
    fast one (spans of text are found by offsets), EOS and pad are set, text encoded and decoded
    is the same text, the chat template renders each message, and a dialogue up to the answer is
    what it begins with after the answer.

    Args:
        load: the hook, bound: ``strategy.load_tokenizer``.

    Raises:
        AssertionError: saying which of these does not hold.
    """
    with tempfile.TemporaryDirectory() as name, quiet_libraries():
        for what, settled in (("tokenizer", True), ("tokenizer without a padding token", False)):
            made = tiny_tokenizer()
            if not settled:
                made.pad_token = None
            folder = Path(name) / what.replace(" ", "-")
            made.save_pretrained(folder)
            tokenizer = call(load, run=run_context(model=str(folder), model_dir=folder))
            _check(f"of a {what}, ", tokenizer)


def _check(what: str, tokenizer: Any) -> None:
    assert isinstance(tokenizer, PreTrainedTokenizerBase), (
        f"load_tokenizer returned a {type(tokenizer).__name__}, not a tokenizer"
    )
    assert tokenizer.is_fast, f"{what}a slow one was made, which gives no offsets"
    for name in ("eos_token_id", "pad_token_id"):
        found: Any = getattr(tokenizer, name)
        assert isinstance(found, int), f"{what}{name} is {found!r}"
        assert 0 <= found < len(tokenizer), f"{what}{name} is {found}, past its {len(tokenizer)}"
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        back = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        assert back == text, f"{what}{text!r} comes back as {back!r}"
    _check_template(what, tokenizer)


def _check_template(what: str, tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.chat_template, f"{what}no chat template is set"
    before = _rendered(tokenizer, [DIALOGUE[0]], add_generation_prompt=True)
    whole = _rendered(tokenizer, list(DIALOGUE))
    for message in DIALOGUE:
        assert message["content"] in whole, (
            f"{what}the chat template leaves out what the {message['role']} says"
        )
    assert DIALOGUE[0]["content"] in before, f"{what}the generation prompt leaves out the question"
    assert whole.startswith(before), (
        f"{what}a dialogue with its answer does not begin with its prompt:\n{before!r}\n{whole!r}"
    )


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: list[Any], **options: Any) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))
