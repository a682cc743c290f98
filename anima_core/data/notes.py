"""What was done to the data that its owner would want to know, as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anima_core.data.chat import PLAIN_NOTE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from anima_core.runs.plan import DataSummary


def data_notes(summary: DataSummary, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Everything that was left out, cut or laid out in another way; empty when nothing was."""
    notes = []
    if summary.dropped:
        notes.append(
            f"{summary.dropped} of {summary.overlong} examples over {summary.limit} tokens "
            "were dropped"
        )
    if summary.truncated:
        notes.append(
            f"{summary.truncated} of {summary.overlong} examples over {summary.limit} tokens "
            "had their context cut from the left"
        )
    if summary.unsupervised:
        notes.append(f"{summary.unsupervised} examples were left out: nothing to learn from")
    if not tokenizer.chat_template:
        notes.append(PLAIN_NOTE)
    return notes
