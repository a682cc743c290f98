"""A run that is decided but not started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anima_core.context import RunContext
from anima_core.errors import AnimaError, DataError, SetupError, UsageError
from anima_core.model.resolve import ModelSource
from anima_core.runs.plan import Plan
from anima_core.runs.request import RunRequest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from anima_core.batch import EncodedExample
    from anima_core.contracts import Attention, Loss
    from anima_core.registry.selection import Selection


@dataclass(frozen=True)
class Prepared:
    """Everything `train` needs, none of it a weight.

    Attributes:
        request: what was asked for.
        source: the model.
        selection: the strategies.
        run: the context handed to hooks.
        plan: what will be done.
        tokenizer, attention, loss: None where a problem kept them from being made.
        examples, eval_examples: the encoded data.
    """

    request: RunRequest
    source: ModelSource
    selection: Selection
    run: RunContext
    plan: Plan
    tokenizer: PreTrainedTokenizerBase | Any
    attention: Attention | Any
    loss: Loss | Any
    examples: Sequence[EncodedExample]
    eval_examples: Sequence[EncodedExample]

    def refuse_errors(self) -> None:
        """Raise the plan's errors, all together.

        Raises:
            AnimaError: of the kind of the first error.
        """
        errors = self.plan.errors
        if not errors:
            return
        first = errors[0]
        kind = {2: UsageError, 3: DataError, 4: SetupError}.get(first.exit_code, AnimaError)
        rest = "".join(
            f"\n{p.where}: {p.what}" + (f"\n  {p.fix}" if p.fix else "") for p in errors[1:]
        )
        raise kind(first.what, where=first.where, fix=first.fix + rest)
