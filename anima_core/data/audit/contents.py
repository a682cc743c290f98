"""What the records' own texts say: broken characters in them, and their last answers."""

from __future__ import annotations

from collections.abc import Iterator

from anima_core.data.formats import Example

REPLACEMENT = "\ufffd"
"""What decoders put in the place of bytes that they could not read."""


def is_broken(example: Example) -> bool:
    """Whether some text of an example holds `REPLACEMENT`."""
    return any(REPLACEMENT in content for content in texts_of(example))


def texts_of(example: Example) -> Iterator[str]:
    """Every text of an example that goes into its tokens."""
    if example.text:
        yield example.text
    for message in (*example.messages, *example.chosen, *example.rejected):
        yield message["content"]


def last_answer(example: Example) -> str:
    """What the example teaches last: a pair's better answer, a dialogue's last, or the text."""
    messages = example.chosen or example.messages
    return str(messages[-1]["content"]) if messages else example.text
