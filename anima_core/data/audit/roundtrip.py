"""Whether the tokens say what the chat template wrote: ids decoded against the text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anima_core.batch import EncodedExample
from anima_core.data.chat import Renderer
from anima_core.data.formats import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOWN = 3
_AROUND = 24


@dataclass(frozen=True)
class Difference:
    """A place at which decoded tokens are not the text.

    Attributes:
        place: the record's file and line.
        text: the text from a little before the first difference on.
        decoded: what the tokens say there.
    """

    place: str
    text: str
    decoded: str


@dataclass
class RoundTrip:
    """How many token sequences decode to the text that the template wrote.

    Attributes:
        checked: sequences; a pair has two.
        exact: those that are the text, character by character.
        spaced: those that differ from it in white space only.
        different: the others.
        first: the first of `spaced`, and the first of `different`.
    """

    checked: int = 0
    exact: int = 0
    spaced: int = 0
    different: int = 0
    first: dict[str, list[Difference]] = field(default_factory=dict)

    def take(self, decoded: str, text: str, end: re.Pattern[str], place: str) -> None:
        """Compare one sequence.

        Args:
            decoded: what the ids say.
            text: what the template wrote.
            end: matches what may follow the last turn that is learnt, or be added behind it:
                special tokens and white space.
            place: the record's file and line.
        """
        self.checked += 1
        if _is(decoded, text, end):
            self.exact += 1
            return
        spaced = _is("".join(decoded.split()), "".join(text.split()), end)
        self.spaced += spaced
        self.different += not spaced
        first = self.first.setdefault("spaced" if spaced else "different", [])
        if len(first) < SHOWN:
            first.append(_difference(decoded, text, place))

    def merge(self, later: RoundTrip) -> None:
        """Take in what was found in the records that follow."""
        self.checked += later.checked
        self.exact += later.exact
        self.spaced += later.spaced
        self.different += later.different
        for name, found in later.first.items():
            first = self.first.setdefault(name, [])
            first += found[: SHOWN - len(first)]


def sequences(example: EncodedExample) -> list[tuple[int, ...]]:
    """The ids of each sequence: a continuation's behind its parent's."""
    whole = []
    parents = {segment.parent for segment in example.segments}
    for index, segment in enumerate(example.segments):
        if segment.parent >= 0:
            whole.append(example.segments[segment.parent].ids + segment.ids)
        elif index not in parents:
            whole.append(segment.ids)
    return whole


def texts_of(render: Renderer, example: Example) -> list[str]:
    """The text of each sequence, as the template writes the whole dialogue."""
    if example.text:
        return [render.bos + example.text]
    answers = (example.chosen, example.rejected) if example.chosen else ((),)
    return [render((*example.messages, *a), tools=example.tools) for a in answers]


def decoded(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[str]:
    """Token ids as text, nothing left out and nothing made prettier."""
    texts: list[str] = tokenizer.batch_decode(
        [list(ids) for ids in rows],
        skip_special_tokens=False,
        clean_up_tokenization_spaces=False,
    )
    return texts


def end_pattern(special: Sequence[str]) -> re.Pattern[str]:
    """Matches any number of special tokens and white space, and nothing else."""
    texts = sorted(special, key=len, reverse=True)
    return re.compile(rf"(?:\s|{'|'.join(map(re.escape, texts))})*")


def _is(decoded: str, text: str, end: re.Pattern[str]) -> bool:
    if text.startswith(decoded):
        return bool(end.fullmatch(text, len(decoded)))
    # The template leaves the turn open, or plain text ends: EOS was added behind it.
    text = text.rstrip()
    return decoded.startswith(text) and bool(end.fullmatch(decoded, len(text)))


def _difference(decoded: str, text: str, place: str) -> Difference:
    pairs = enumerate(zip(decoded, text, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(decoded), len(text)))
    start, stop = max(at - _AROUND, 0), at + _AROUND
    return Difference(place, text[start:stop], decoded[start:stop])
