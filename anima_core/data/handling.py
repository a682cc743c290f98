"""What a user asks to be done with the records, apart from what the loss wants of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anima_core.config.core import CoreOptions


@dataclass(frozen=True)
class Handling:
    """Options of a data set, as the core's options of the same names.

    Attributes:
        skip_bad_records: leave records that cannot be used out, instead of refusing them.
    """

    skip_bad_records: bool = False


def handling_of(config: CoreOptions) -> Handling:
    """What a run's options ask for."""
    return Handling(skip_bad_records=config.skip_bad_records)
