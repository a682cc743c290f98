"""A dialogue made short enough, so that its text is still one that the chat template writes.

    system  user  assistant  user  assistant
            |--- earliest --||-- the rest --|

Messages are made fewer and shorter, never tokens: the earliest turns go, each with all that answers
it, and of the first turn that is left the text is cut from its left. The system's words and every
answer that is left stay whole. What is left is rendered and encoded anew, so its beginning, its
turns and its end are the template's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from anima_core.batch import EncodedExample
from anima_core.data.formats import Example
from anima_core.data.limits import Limits
from anima_core.data.turns import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TRIES = 12  # a text's tokens hang on what stands around it, so the right cut is looked for

Encode = Callable[[Example], EncodedExample | None]
"""Renders and encodes a dialogue; None where the template refuses it or nothing is to be learnt."""


class Shortener:
    """Makes dialogues short enough.

    Args:
        tokenizer: the model's tokenizer.
        limits: the longest that is allowed.
        encode: renders and encodes a dialogue.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limits: Limits, encode: Encode) -> None:
        self._tokenizer = tokenizer
        self._limits = limits
        self._encode = encode

    def shorten(self, example: Example) -> EncodedExample | None:
        """The longest that is left of a dialogue within the limits.

        Args:
            example: a completion or a preference over a limit of length or prompt.

        Returns:
            What is left, encoded; None where its last turn does not fit, or it is no dialogue.
        """
        dialogue = _Dialogue(example)
        if not dialogue.starts:
            return None
        fewest = self._dropped(dialogue)
        rest = dialogue.without(fewest)
        made = self._encode(rest)
        if made is not None and self._excess(made) > 0:
            return self._cut(rest, dialogue.all_of_last())
        if not fewest:
            return made
        part = self._cut(dialogue.without(fewest - 1), dialogue.first_of(fewest - 1))
        return made if part is None else part

    def _dropped(self, dialogue: _Dialogue) -> int:
        """The fewest turns to leave out that suffice, or all but the last."""
        low, high = 0, len(dialogue.starts) - 1
        while low < high:
            middle = (low + high) // 2
            made = self._encode(dialogue.without(middle))
            if made is None or self._excess(made) <= 0:
                high = middle
            else:
                low = middle + 1
        return low

    def _cut(self, example: Example, indices: Sequence[int]) -> EncodedExample | None:
        """The dialogue with the texts of some messages cut from their left, one after the other.

        Each of them keeps something; None where it is not enough.
        """
        for index in indices:
            starts = self._starts(example.messages[index]["content"])
            if not starts:
                continue
            shortest = _with_text(example, index, starts[-1])
            made = self._encode(shortest)
            if made is None:
                return None
            if self._excess(made) <= 0:
                return self._longest(example, index, starts, made)
            example = shortest
        return None

    def _longest(
        self, example: Example, index: int, starts: Sequence[int], best: EncodedExample
    ) -> EncodedExample:
        """As few tokens of a message cut off as the limits allow; `best` is all but the last."""
        whole = self._encode(example)
        excess = self._excess(whole) if whole is not None else len(starts) // 2
        low, high = -1, len(starts) - 1  # cutting at `low` is too little, at `high` it is enough
        cut = excess - 1
        for _ in range(_TRIES):
            if high - low < 2:
                break
            cut = min(max(cut, low + 1), high - 1)
            made = self._encode(_with_text(example, index, starts[cut]))
            excess = self._excess(made) if made is not None else 1
            if made is not None and excess <= 0:
                best, high = made, cut
            else:
                low = cut
            if not excess:
                break
            cut += excess
        return best

    def _starts(self, text: str) -> list[int]:
        """Where in a text it may be cut: before each of its tokens but the first."""
        encoded = self._tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        end = len(text.rstrip())
        starts = {start for start, _ in encoded["offset_mapping"] if 0 < start < end}
        return sorted(starts)

    def _excess(self, made: EncodedExample) -> int:
        excess = self._limits.excess(self._limits.sizes(made))
        return max(excess.length, excess.prompt) if self._limits.prompt else excess.length


class _Dialogue:
    """The turns of an example: what may be left out, and what may be cut."""

    def __init__(self, example: Example) -> None:
        self._example = example
        messages = example.messages
        # A completion's last message is its answer; a preference's prompt holds none.
        self._end = len(messages) - (0 if example.chosen else example.judged or 1)
        self._system = 1 if messages and messages[0]["role"] == "system" else 0
        self.starts = self._turns(messages)

    def _turns(self, messages: Sequence[Message]) -> list[int]:
        """Where each turn begins: with the user's words, or with what stands before them."""
        here = range(self._system, self._end)
        return [i for i in here if i == self._system or messages[i]["role"] == "user"]

    def without(self, turns: int) -> Example:
        """The example without its first turns."""
        messages = self._example.messages
        return replace(
            self._example, messages=(*messages[: self._system], *messages[self.starts[turns] :])
        )

    def first_of(self, turn: int) -> list[int]:
        """The message with which a turn begins, where it is the user's, in what `without` gives."""
        begins = self._example.messages[self.starts[turn]]["role"] == "user"
        return [self._system] if begins else []

    def all_of_last(self) -> list[int]:
        """The messages of the last turn that are no answers, in what `without` gives."""
        start = self.starts[-1]
        return [
            index - start + self._system
            for index in range(start, self._end)
            if self._example.messages[index]["role"] != "assistant"
        ]


def _with_text(example: Example, index: int, start: int) -> Example:
    """The example with a message's text from `start` on."""
    messages = list(example.messages)
    messages[index] = {**messages[index], "content": messages[index]["content"][start:]}
    return replace(example, messages=tuple(messages))
