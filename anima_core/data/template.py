"""Examples as token segments, through the chat template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from anima_core.batch import Role, TokenSegment
from anima_core.data.chat import Renderer
from anima_core.data.formats import Example
from anima_core.data.masks import Tokens, tokenize
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
        examples: completions, preferences (those with `chosen`), and unpaired feedback (those
            with a `label`).
        refuse: told of each example that cannot be encoded; without it they raise.
        train_on: what of a completion is learnt.

    Returns:
        For each example its segments, as `encode_completion` and `encode_preference` give them,
        and of unpaired feedback the prompt and its one answer; none for one that was refused.
    """
    texts: list[list[Rendered]] = []
    for example in examples:
        try:
            texts.append(_render(render, example, train_on))
        except DataError as error:
            refuse(error)
            texts.append([])
    tokens = iter(tokenize(render, [text for group in texts for text in group]))
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
    example: Example, group: Sequence[Rendered], own: Sequence[Tokens]
) -> tuple[TokenSegment, ...]:
    if not group:
        return ()
    if example.chosen:
        roles: tuple[Role, ...] = (Role.CHOSEN, Role.REJECTED)
    elif example.label is not None:
        roles = (Role.CHOSEN if example.label else Role.REJECTED,)
    else:
        return (own[0].segment(Role.COMPLETION, 0),)
    return _answers(own, roles, group[0].boundary, place(example.file, example.line))


def _render(render: Renderer, example: Example, train_on: TrainOn) -> list[Rendered]:
    where, tools, prompt = place(example.file, example.line), example.tools, example.messages
    if example.text:
        return [render_text(render, example.text)]
    if example.label is not None:
        first = len(prompt) - example.judged
        _refuse_weights("messages", prompt, first, "a verdict is on a whole answer", where)
        return [render_spans(render, prompt, first, where, tools=tools)]
    if not example.chosen:
        return [render_spans(render, prompt, 0, where, tools=tools, train_on=train_on)]
    for field, answer in (("chosen", example.chosen), ("rejected", example.rejected)):
        _refuse_weights(field, answer, 0, "a preference is between whole answers", where)
    return [
        render_spans(render, (*prompt, *answer), len(prompt), where, tools=tools)
        for answer in (example.chosen, example.rejected)
    ]


def _refuse_weights(
    field: str, messages: Sequence[Message], first: int, why: str, where: str
) -> None:
    """Of whole answers that are judged, what a part of one weighs would say nothing."""
    for index, message in enumerate(messages):
        if index >= first and "weight" in message:
            raise DataError(
                f"field '{field}[{index}].weight': found the number {message['weight']:g}, "
                f"expected none, 0 or 1: {why}",
                where=where,
                fix="leave it out; the record's own 'weight' says how much it counts",
            )


def _answers(
    own: Sequence[Tokens], roles: Sequence[Role], boundary: int, where: str
) -> tuple[TokenSegment, ...]:
    """The prompt, and the answers that continue it."""
    shared = 0
    together = zip(*(answer.ids[:-1] for answer in own), strict=False)
    # Each answer keeps at least one token of its own: the last is never shared.
    for ids, stop in zip(together, own[0].stops, strict=False):
        if len({*ids}) > 1 or stop > boundary:
            break
        shared += 1
    if not shared:
        raise DataError(
            "the answers share no token before they begin, so nothing asks for them"
            if len(own) > 1
            else "no token stands before the answer, so nothing asks for it",
            where=where,
            fix="give a prompt, or the model's folder a chat_template that writes it",
        )
    prompt = TokenSegment(tuple(own[0].ids[:shared]), (False,) * shared, Role.PROMPT)
    answers = zip(own, roles, strict=True)
    return (prompt, *(answer.segment(role, shared, 0) for answer, role in answers))
