"""Token segments and their supervised mask, derived from the chat template.

A dialogue is tokenised once, as a whole, with the place of every token in the text; a token is
a target if it overlaps an answer. Padding and EOS ids play no part in that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anima_core.batch import Role, TokenSegment
from anima_core.data.chat import Renderer
from anima_core.data.formats import Example
from anima_core.data.place import place
from anima_core.data.spans import Rendered, render_spans, render_text
from anima_core.data.turns import Message
from anima_core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from anima_core.config.core import TrainOn


def encode_completion(tokenizer: PreTrainedTokenizerBase, example: Example) -> list[TokenSegment]:
    """A completion as one root segment; every assistant turn is supervised, EOS included.

    Raises:
        DataError: the chat template refuses the dialogue or moves its parts.
        SetupError: the tokenizer is a slow one, or has no EOS.
    """
    return list(encode(Renderer(tokenizer), [example])[0])


def encode_preference(tokenizer: PreTrainedTokenizerBase, example: Example) -> list[TokenSegment]:
    """A preference as three segments: the prompt, and the two answers that continue it.

    The prompt is what both token sequences share before the answers begin; nothing in it is
    supervised.

    Raises:
        DataError: the chat template refuses the dialogue or moves its parts, or nothing stands
            before the answers.
        SetupError: the tokenizer is a slow one, or has no EOS.
    """
    return list(encode(Renderer(tokenizer), [example])[0])


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Token ids to generate an answer from, as training had them before an answer.

    A prompt tokenised by itself may end in other tokens than the same prompt with an answer
    behind it (``"Assistant: "`` keeps a space that belongs to ``" Hello"``, two line breaks
    become one token). So it is tokenised with a letter behind it, as most answers begin, and
    the letter is then taken away.

    Args:
        tokenizer: the model's tokenizer.
        messages: the dialogue, up to the message to be answered.

    Raises:
        DataError: the chat template refuses the dialogue.
        SetupError: the tokenizer is a slow one.
    """
    text = Renderer(tokenizer)(messages, add_generation_prompt=True, where="prompt")
    encoded = tokenizer(
        text + "a", add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    rows = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [index for index, (_, stop) in rows if stop <= len(text)]


def _raise(error: DataError) -> None:
    raise error


def encode(
    render: Renderer,
    examples: Sequence[Example],
    refuse: Callable[[DataError], None] = _raise,
    train_on: TrainOn = "assistant",
) -> list[tuple[TokenSegment, ...]]:
    """Encode many examples with one call of the tokenizer.

    Args:
        render: the tokenizer's chat template.
        examples: completions and preferences (those with `chosen`).
        refuse: told of each example that cannot be encoded; without it they raise.
        train_on: what of a completion is learnt.

    Returns:
        For each example its segments, as `encode_completion` and `encode_preference` give them;
        none for one that was refused.
    """
    texts: list[list[Rendered]] = []
    for example in examples:
        try:
            texts.append(_render(render, example, train_on))
        except DataError as error:
            refuse(error)
            texts.append([])
    tokens = iter(_tokenize(render, [text for group in texts for text in group]))
    encoded: list[tuple[TokenSegment, ...]] = []
    for example, group in zip(examples, texts, strict=True):
        own = [next(tokens) for _ in group]
        try:
            encoded.append(_segments(example, group, own))
        except DataError as error:
            refuse(error)
            encoded.append(())
    return encoded


def _segments(
    example: Example, group: Sequence[Rendered], own: Sequence[_Tokens]
) -> tuple[TokenSegment, ...]:
    if not group:
        return ()
    if example.chosen:
        chosen, rejected = own
        return _pair(chosen, rejected, group[0].boundary, place(example.file, example.line))
    return (own[0].segment(Role.COMPLETION, 0),)


def _render(render: Renderer, example: Example, train_on: TrainOn) -> list[Rendered]:
    where, tools, prompt = place(example.file, example.line), example.tools, example.messages
    if example.text:
        return [render_text(render, example.text)]
    if not example.chosen:
        return [render_spans(render, prompt, 0, where, tools=tools, train_on=train_on)]
    return [
        render_spans(render, (*prompt, *answer), len(prompt), where, tools=tools)
        for answer in (example.chosen, example.rejected)
    ]


@dataclass(frozen=True)
class _Tokens:
    """One text's tokens.

    Attributes:
        ids: token ids.
        supervised: which of them are targets.
        stops: for each, where in the text it ends.
    """

    ids: list[int]
    supervised: list[bool]
    stops: list[int]

    def segment(self, role: Role, start: int, parent: int = -1) -> TokenSegment:
        """The tokens from `start` on; nothing predicts a root's first token."""
        supervised = self.supervised[start:]
        if parent < 0 and supervised:
            supervised[0] = False
        return TokenSegment(tuple(self.ids[start:]), tuple(supervised), role, parent)


def _tokenize(render: Renderer, texts: Sequence[Rendered]) -> list[_Tokens]:
    if not texts:
        return []
    encoded = render.tokenizer(
        [rendered.text for rendered in texts],
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    rows = zip(encoded["input_ids"], encoded["offset_mapping"], texts, strict=True)
    return [_masked(render, ids, offsets, rendered) for ids, offsets, rendered in rows]


def _masked(
    render: Renderer, ids: list[int], offsets: list[tuple[int, int]], rendered: Rendered
) -> _Tokens:
    starts = [start for start, _ in offsets]
    stops = [stop for _, stop in offsets]
    supervised = [False] * len(ids)
    for start, stop in rendered.spans:
        # Tokenizers that trim offsets give white space no width: it counts where it ends.
        first, end = bisect_right(stops, start), bisect_left(starts, stop)
        if first and _reaches_over(render, ids[first - 1], rendered.text, stops[first - 1], start):
            first -= 1
            stops[first] = start + 1
        supervised[first:end] = [True] * max(end - first, 0)
    if not _ends(render, ids, starts, rendered):
        # The template leaves the turn open; without EOS the model would never learn to stop.
        ids, stops = [*ids, render.eos_id], [*stops, len(rendered.text)]
        supervised.append(any(stop == len(rendered.text) for _, stop in rendered.spans))
    return _Tokens(ids, supervised, stops)


def _ends(render: Renderer, ids: Sequence[int], starts: Sequence[int], rendered: Rendered) -> bool:
    """Whether the last token says that the text ends: a special one, written by the template."""
    if not ids or rendered.plain:
        return bool(ids) and ids[-1] == render.eos_id
    return render.special.get(ids[-1]) == rendered.text[starts[-1] :].strip()


def _reaches_over(render: Renderer, token: int, text: str, stop: int, boundary: int) -> bool:
    r"""Whether a token has taken in an answer's first space, which its trimmed offsets hide.

    Byte-level tokenizers write a space as ``Ġ``: with them ``"\n\n "`` may be one token, whose
    offsets end before the space.
    """
    before, after = text[boundary - 1 : boundary], text[boundary : boundary + 1]
    if stop != boundary or before == " " or after != " ":
        return False
    return str(render.tokenizer.convert_ids_to_tokens(token)).endswith("Ġ")


def _pair(
    chosen: _Tokens, rejected: _Tokens, boundary: int, where: str
) -> tuple[TokenSegment, TokenSegment, TokenSegment]:
    shared = 0
    # Each answer keeps at least one token of its own: the last is never shared.
    for a, b, stop in zip(chosen.ids[:-1], rejected.ids[:-1], chosen.stops, strict=False):
        if a != b or stop > boundary:
            break
        shared += 1
    if not shared:
        raise DataError(
            "the answers share no token before they begin, so nothing asks for them",
            where=where,
            fix="give the pair a prompt, or the model's folder a chat_template that writes it",
        )
    return (
        TokenSegment(tuple(chosen.ids[:shared]), (False,) * shared, Role.PROMPT),
        chosen.segment(Role.CHOSEN, shared, 0),
        rejected.segment(Role.REJECTED, shared, 0),
    )
