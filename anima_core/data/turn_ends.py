"""Where a turn begins and ends in a text whose template writes it differently once more follows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from anima_core.data.chat import Renderer
from anima_core.data.turns import Message


def turn_end(render: Renderer, message: Message, closed: str, whole: str, start: int) -> int | None:
    """Where a message's turn ends in a text in which more follows; None where it is uncertain.

    Args:
        render: the chat template.
        message: the message.
        closed: the dialogue's text up to and with it.
        whole: the text with what follows.
        start: where the message begins in both.
    """
    if whole.startswith(closed):
        return len(closed.rstrip())
    # Some templates treat the last turn specially. Qwen3 writes a <think> block before it that
    # earlier turns lack: what then stands in the whole text is the end of the turn as it was.
    turn = closed[start:].rstrip()
    end = next((text for text in render.special.values() if turn.endswith(text)), "")
    if closed.startswith(whole[:start]) and end:
        parts = whole[start:].split(end, turn.count(end))
        written = whole[start : len(whole) - len(parts[-1])]
        if len(parts) > turn.count(end) and turn.endswith(written):
            return start + len(written)
    # Phi-3 ends the text with EOS. The turn's end is still certain where the content itself
    # stands at its place, followed by the special token that follows it in `closed`.
    content = message["content"].strip()
    at = start + len(whole[start:]) - len(whole[start:].lstrip())
    match = render.special_pattern.match(whole, at + len(content))
    if (
        content
        and whole.startswith(content, at)
        and match
        and match[0] == _first_end(render, closed)
    ):
        return match.end()
    return None


def _first_end(render: Renderer, closed: str) -> str:
    """The first of the special tokens that a dialogue ends with, white space before it and all."""
    special = render.special_pattern.pattern
    tail = re.search(rf"(?:{special})+\s*\Z", closed)
    first = render.special_pattern.match(tail[0]) if tail else None
    return first[0] if first else ""


def moved_start(
    messages: Sequence[Message], index: int, prompt: str, whole: str, after: int
) -> int | None:
    """Where an answer begins in a text that does not begin with its prompt; None if uncertain.

    Some templates move the system's words to the last user's turn (Mistral), so that the prompt
    of an earlier answer has them and the whole text has not. The answer's place is still certain
    where its content stands behind the end of its prompt: the message before it and whatever the
    template writes between the two.

    Args:
        messages: the dialogue.
        index: which message the answer is.
        prompt: the text of the messages before it, with the generation prompt.
        whole: the whole dialogue's text.
        after: where the answer before it ended.
    """
    content, asked = (messages[i]["content"].strip() for i in (index, index - 1))
    begins = prompt.rfind(asked)
    if begins < 0 or not asked or not content:
        return None
    tail = prompt[begins:]
    at = whole.find(tail, after)
    start = at + len(tail)
    if at < 0 or not whole[start:].lstrip().startswith(content):
        return None
    return start
