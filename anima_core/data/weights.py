"""What a message says of its own weight in the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anima_core.contracts import Record
from anima_core.data.field import bad_field, shown

HIGHEST = 3.4e38
"""The largest weight that is finite in float32."""


def weight_of(record: Record, field: str, role: str, message: Mapping[str, Any]) -> float:
    """What ``train`` and ``weight`` of a message come to.

    Returns:
        The weight of the message's tokens; 0 leaves it out. 1 where nothing is said.

    Raises:
        DataError: ``train`` is neither true nor false (or 1 or 0), ``weight`` is no finite
            number of 0 or more, or either would have another's message than the assistant's learnt.
    """
    found = {"train": _flag, "weight": _number}
    weight = 1.0
    for key, read in found.items():
        value = message.get(key)
        if value is None:
            continue
        number = read(record, f"{field}.{key}", value)
        if number and role != "assistant":
            raise bad_field(
                record,
                f"{field}.{key}",
                shown(value),
                f"0 or nothing in a message by {role!r}",
                "only the assistant's messages are learnt; --train-on all learns everything",
            )
        weight *= number
    return weight


def _flag(record: Record, field: str, value: object) -> float:
    if value not in (0, 1):
        fix = "a message is learnt or not; how much it counts is its 'weight'"
        raise bad_field(record, field, shown(value), "0 or 1 (true or false)", fix)
    return float(bool(value))


def _number(record: Record, field: str, value: object) -> float:
    expected = "a finite number of 0 or more"
    fix = "0 leaves a message out, 1 is the weight of those that have none"
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= HIGHEST:
        raise bad_field(record, field, shown(value), expected, fix)
    return float(value)
