"""The answers of other examples that a loss wants beside each one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anima_core.data.mismatched import NONE, others

if TYPE_CHECKING:
    from anima_core.data.audit.rows import Rows


@dataclass(frozen=True)
class Others:
    """Answers to other prompts, as a run computes them behind the prompts of its examples.

    Attributes:
        examples: how many have one; the others' prompts leave no room for any.
        tokens: how many tokens they are, beside all that are counted elsewhere.
    """

    examples: int
    tokens: int


def with_others(rows: Rows, limit: int) -> tuple[Rows, Others]:
    """The rows with the tokens of others' answers counted in, and how many those are.

    Args:
        rows: the examples that are trained on, in their order; left as they are.
        limit: tokens of the longest sequence allowed.
    """
    rows = rows.copy()
    prompt = rows["kept_prompt"].copy()
    answers = rows["tokens"] - prompt
    found = others(rows["prompt"], prompt, answers, limit)
    there = found != NONE
    more = np.where(there, answers[found], 0)
    rows["tokens"] += more
    rows["longest"] = np.maximum(rows["longest"], prompt + more)
    rows["sequences"] += there
    return rows, Others(int(there.sum()), int(more.sum(dtype=np.int64)))
