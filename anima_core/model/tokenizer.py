"""The core's tokenizer loader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anima_core
from anima_core.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from anima_core.context import RunContext


class AutoTokenizerStrategy:
    """Loads the tokenizer that comes with the model."""

    api = 1
    summary = "The tokenizer that comes with the model, by transformers' AutoTokenizer"
    slots = ("load_tokenizer",)
    requires = ()
    conflicts = ()
    Options = anima_core.NoOptions

    def __init__(self, options: anima_core.Options) -> None:
        self.options = options

    @anima_core.hookimpl
    def load_tokenizer(self, run: RunContext) -> PreTrainedTokenizerBase:
        """Load it, and settle EOS and pad.

        Pad is only ever used to fill rectangles in generation; it never decides what is
        supervised, so it may be the same token as EOS.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(
                run.model_dir, trust_remote_code=run.config.trust_remote_code
            )
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"the model's tokenizer cannot be loaded: {str(error).splitlines()[0]}",
                where="MODEL",
                fix="The model's folder must hold its tokenizer (tokenizer.json).",
            ) from error
        if tokenizer.eos_token_id is None:
            raise UsageError(
                "the tokenizer has no EOS token, so the model could not be taught to stop",
                where="MODEL",
                fix="Set eos_token in tokenizer_config.json.",
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        settled: PreTrainedTokenizerBase = tokenizer
        return settled
