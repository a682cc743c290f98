"""What a user asks to be done with the records, apart from what the loss wants of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anima_core.config.values import pairs_of

if TYPE_CHECKING:
    from anima_core.config.core import CoreOptions, TrainOn


@dataclass(frozen=True)
class Handling:
    """Options of a data set, as the core's options of the same names.

    Attributes:
        format: the format to read every record in; found record by record when None.
        columns: by field, the column that holds it.
        fill: by placeholder, what takes its place.
        train_on: what of a completion is learnt.
        skip_bad_records: leave records that cannot be used out, instead of refusing them.
        min_length: tokens of the shortest example that is kept.
        max_examples: how many are kept at most; all of them when None.
        mix: the share of each source, as ``SOURCE=SHARE``; every example is kept without it.
        max_prompt_length: tokens of the longest prompt allowed; as long as may be when None.
        max_answer_length: the same of an answer.
        seed: decides which are kept.
    """

    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, str] = field(default_factory=dict)
    train_on: TrainOn = "assistant"
    skip_bad_records: bool = False
    min_length: int = 0
    max_examples: int | None = None
    mix: tuple[str, ...] = ()
    max_prompt_length: int | None = None
    max_answer_length: int | None = None
    seed: int = 0


def handling_of(config: CoreOptions, *, training: bool = True) -> Handling:
    """What a run's options ask for.

    Args:
        config: the options.
        training: whether the data is to be trained on; none of it is chosen otherwise.
    """
    return Handling(
        format=config.format,
        columns=pairs_of(config.columns),
        fill=pairs_of(config.fill),
        train_on=config.train_on,
        skip_bad_records=config.skip_bad_records,
        min_length=(config.min_length or 0) if training else 0,
        max_examples=config.max_examples if training else None,
        mix=config.mix if training else (),
        max_prompt_length=config.max_prompt_length,
        max_answer_length=config.max_answer_length,
        seed=config.seed,
    )
