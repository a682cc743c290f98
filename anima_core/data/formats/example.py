"""What a format makes of a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from anima_core.data.turns import Message

Kind = Literal["completion", "preference", "unpaired"]
"""What a loss learns from. ``unpaired`` is an answer with a verdict, good or bad."""


@dataclass(frozen=True)
class Example:
    """What is to be learnt from one record.

    Attributes:
        messages: completion: the dialogue, its last message the assistant's; preference: the
            prompt. A message with ``"train": False`` is not to be learnt.
        format: name of the format it came in.
        chosen, rejected: preference only: what follows the prompt, from an assistant's message
            to an assistant's message (one message, as a rule).
        weight: its weight in the loss.
        margin: preference only: by how much the chosen answer is the better one, 0 or more.
        file, line: where it came from.
        text: instead of messages: plain text, all of which is learnt.
        tools: what the assistant may call, as the chat template is given it.
        label: unpaired only: whether the answer is a good one.
        judged: unpaired only: how many of the last messages are that answer.
        part: which of its record's examples it is, from 0.
        remarks: what was read otherwise than it stands there, a sentence each.
    """

    messages: tuple[Message, ...]
    format: str
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    weight: float = 1.0
    file: str = ""
    line: int = 0
    text: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    label: bool | None = None
    judged: int = 0
    part: int = 0
    remarks: tuple[str, ...] = ()
    margin: float = 0.0


class Parts(NamedTuple):
    """What a format's reader finds; the attributes are those of `Example`."""

    messages: tuple[Message, ...] = ()
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    text: str = ""
    label: bool | None = None
    judged: int = 0
    remarks: tuple[str, ...] = ()
