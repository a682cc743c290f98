"""What a loss that learns from single answers asks of its data before anything loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anima_core.errors import DataError
from anima_core.problems import Problem

if TYPE_CHECKING:
    from anima_core.contracts import Loss
    from anima_core.runs.plan import DataSummary


def with_other_answers(
    loss: Loss | None, examples: Any, data: DataSummary | None, held_out_by: str = ""
) -> tuple[Any, DataSummary | None, list[Problem]]:
    """The examples as the loss wants them: with the answers of others, where it says so.

    Args:
        loss: the loss; it says so by ``mismatched = True``.
        examples: examples of unpaired feedback, trained on or held out.
        data: what they are; None where there are none.
        held_out_by: the option that held them out; empty for those that are trained on.

    Returns:
        The examples, what they are, and what there is to say about it.
    """
    if data is None or loss is None or not getattr(loss, "mismatched", False):
        return examples, data, []
    from anima_core.data.dataset import with_mismatched

    both, found = with_mismatched(examples, data)
    return both, found, _unmatched(found, held_out_by)


def _unmatched(data: DataSummary, held_out_by: str) -> list[Problem]:
    if not data.unmatched:
        return []
    if data.unmatched == data.examples and held_out_by:
        what = (
            f"no held-out example (of {data.examples:,}) has an answer to another held-out prompt "
            f"that fits {data.limit} tokens behind its own: they are judged without what the loss "
            "estimates from such answers"
        )
        raised = "Raise it, so that several prompts are held out; or raise --max-length."
        named = "Give answers to several prompts, or raise --max-length."
        fix = raised if held_out_by == "--eval-fraction" else named
        return [Problem(held_out_by, what, fix, level="warning")]
    if data.unmatched == data.examples:
        return [
            Problem(
                ", ".join(data.sources),
                f"none of {data.examples:,} examples has an answer to another prompt that fits "
                f"{data.limit} tokens behind its own",
                "Give answers to several prompts, raise --max-length, or take a loss that "
                "estimates nothing from them (--kto.loss apo_zero_unpaired).",
                exit_code=DataError.exit_code,
            )
        ]
    kind = "held-out examples" if held_out_by else "examples"
    what = (
        f"{data.unmatched:,} of {data.examples:,} {kind} have no answer to another prompt "
        f"beside them: none fits {data.limit} tokens behind theirs"
    )
    return [Problem("data", what, level="note")]


def data_problems(loss: Loss | None, data: DataSummary | None) -> Sequence[Problem]:
    """What the loss itself has to say of the data that it is to be trained on."""
    look = getattr(loss, "data_problems", None)
    if data is None or look is None:
        return []
    found: Sequence[Problem] = look(data)
    return found
