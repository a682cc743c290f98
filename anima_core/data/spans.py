r"""Where in a dialogue's text the answers stand.

    <|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>\n
    |--------------- generation prompt ------------------||-- answer --|

An answer runs from the end of its generation prompt to its end-of-turn token. Both ends are
found by rendering the dialogue up to there, never by searching for markers or by token ids. A
template that marks its answers itself must agree (see `generation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from anima_core.data.chat import Renderer
from anima_core.data.generation import Found, Marked
from anima_core.data.toolcheck import check_tools
from anima_core.data.turn_ends import moved_start, turn_end
from anima_core.data.turns import Message
from anima_core.errors import DataError

if TYPE_CHECKING:
    from anima_core.config.core import TrainOn


class Span(NamedTuple):
    """A part of a text that is to be learnt.

    Attributes:
        start, stop: where it stands, in characters.
        weight: the weight of its tokens in the loss, above 0.
    """

    start: int
    stop: int
    weight: float = 1.0


@dataclass(frozen=True)
class Rendered:
    """A dialogue, or plain text, as text.

    Attributes:
        text: the text, up to the end of the last answer's turn.
        spans: the parts that are to be learnt; a token that two of them share is the later one's.
        boundary: where the first answer begins.
        plain: whether it is plain text, which ends with EOS, whatever it says itself.
    """

    text: str
    spans: tuple[Span, ...]
    boundary: int = 0
    plain: bool = False


def render_text(render: Renderer, text: str) -> Rendered:
    """Plain text, all of which is learnt; BOS before it where the tokenizer writes one."""
    whole = render.bos + text
    return Rendered(whole, (Span(0, len(whole)),), plain=True)


def render_spans(
    render: Renderer,
    messages: Sequence[Message],
    first: int,
    where: str,
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    train_on: TrainOn = "assistant",
) -> Rendered:
    """Render a dialogue and find the assistant's turns from message `first` on.

    Args:
        render: the chat template.
        messages: the dialogue; the last message is the assistant's.
        first: index of the first message that may be learnt.
        where: the record's place, for errors.
        tools: what the assistant may call.
        train_on: the assistant's turns, the last of them, or all of the text. A message with
            ``"train": False`` is left out of each.

    Raises:
        DataError: the template refuses the dialogue, leaves tools out, or writes its beginning
            differently once more follows, so that an answer's place in the text cannot be known;
            or its own ``{% generation %}`` blocks hold something else than the answers.
    """
    blocks: list[tuple[int, int]] | None = None
    if render.marks_answers(tools):
        whole, blocks = render.marked(messages, tools=tools, where=where)
    else:
        whole = render(messages, tools=tools, where=where)
    check_tools(render, messages, tools, whole, where)
    answers = [i for i in range(first, len(messages)) if messages[i]["role"] == "assistant"]
    weights = [_weight(messages[index]) for index in answers]
    if train_on == "last":
        weights[:-1] = [0.0] * (len(answers) - 1)
    found: list[Found] = []
    after = 0
    for index in answers:
        try:
            place = _by_rendering(render, messages, index, whole, after, tools, where)
        except DataError as error:
            if blocks is None:
                raise
            found.append(error)
        else:
            found.append(place)
            after = place[1]
    if blocks is None:
        places = [place for place in found if not isinstance(place, DataError)]
    else:
        marked = Marked(render, messages, tools, whole, blocks, where)
        places = marked.settled(answers, found, [weight > 0 for weight in weights])
    # What a template writes after the last end-of-turn is never learnt and predicts nothing.
    text = whole[: places[-1][1]]
    spans = [Span(*place, weight) for place, weight in zip(places, weights, strict=True)]
    learnt = [span for span in spans if span.weight]
    if train_on == "all":
        own = [span for span in spans if span.weight != 1]
        learnt = [*_around(own, len(text)), *(span for span in own if span.weight)]
    return Rendered(text, tuple(learnt), places[0][0])


def _weight(message: Message) -> float:
    return float(message.get("weight", 1.0)) if message.get("train", True) else 0.0


def _by_rendering(
    render: Renderer,
    messages: Sequence[Message],
    index: int,
    whole: str,
    after: int,
    tools: Sequence[Mapping[str, Any]],
    where: str,
) -> tuple[int, int]:
    """Start and stop of an answer, found by rendering the dialogue up to it and with it."""
    prompt = render(messages[:index], add_generation_prompt=True, tools=tools, where=where)
    start: int | None = len(prompt)
    if not whole.startswith(prompt):
        start = moved_start(messages, index, prompt, whole, after)
    if start is None:
        raise _moved(render, f"the prompt of message {index}", prompt, whole, where)
    if index == len(messages) - 1:
        return start, len(whole.rstrip())
    closed = render(messages[: index + 1], tools=tools, where=where)
    stop = turn_end(render, messages[index], closed, whole, start)
    if stop is None:
        raise _moved(render, f"message {index}", closed, whole, where)
    return start, stop


def _around(holes: Sequence[Span], length: int) -> list[Span]:
    """The parts of a text that lie outside of some spans."""
    edges = [0, *(edge for hole in holes for edge in hole[:2]), length]
    parts = zip(edges[::2], edges[1::2], strict=True)
    return [Span(start, stop) for start, stop in parts if start < stop]


def _moved(render: Renderer, what: str, part: str, whole: str, where: str) -> DataError:
    same = next(
        (i for i, (a, b) in enumerate(zip(part, whole, strict=False)) if a != b),
        min(len(part), len(whole)),
    )
    return DataError(
        f"the chat template of {render.name} writes {what} differently once more follows: "
        f"{part[same : same + 30]!r} becomes {whole[same : same + 30]!r}",
        where=where,
        fix="name one (--template) in which a dialogue's text begins with the text of its "
        "beginning: no text added to the generation prompt, no turn of a chat_template rewritten",
    )
