r"""Where in a dialogue's text the answers stand.

    <|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>\n
    |--------------- generation prompt ------------------||-- answer --|

An answer runs from the end of its generation prompt to its end-of-turn token. Both ends are
found by rendering the dialogue up to there, never by searching for markers or by token ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anima_core.data.chat import Renderer
from anima_core.data.toolcheck import check_tools
from anima_core.data.turn_ends import moved_start, turn_end
from anima_core.data.turns import Message
from anima_core.errors import DataError

if TYPE_CHECKING:
    from anima_core.config.core import TrainOn


@dataclass(frozen=True)
class Rendered:
    """A dialogue, or plain text, as text.

    Attributes:
        text: the text, up to the end of the last answer's turn.
        spans: start and stop, in characters, of each part that is to be learnt.
        boundary: where the first answer begins.
        plain: whether it is plain text, which ends with EOS, whatever it says itself.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    boundary: int = 0
    plain: bool = False


def render_text(render: Renderer, text: str) -> Rendered:
    """Plain text, all of which is learnt; BOS before it where the tokenizer writes one."""
    whole = render.bos + text
    return Rendered(whole, ((0, len(whole)),), plain=True)


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
            differently once more follows, so that an answer's place in the text cannot be known.
    """
    whole = render(messages, tools=tools, where=where)
    check_tools(render, messages, tools, whole, where)
    last = len(messages) - 1
    spans: list[tuple[int, int]] = []
    answers = [i for i in range(first, last + 1) if messages[i]["role"] == "assistant"]
    for index in answers:
        prompt = render(messages[:index], add_generation_prompt=True, tools=tools, where=where)
        start: int | None = len(prompt)
        if not whole.startswith(prompt):
            start = moved_start(messages, index, prompt, whole, spans[-1][1] if spans else 0)
        if start is None:
            raise _moved(render, f"the prompt of message {index}", prompt, whole, where)
        if index == last:
            stop = len(whole.rstrip())
        else:
            closed = render(messages[: index + 1], tools=tools, where=where)
            found = turn_end(render, messages[index], closed, whole, start)
            if found is None:
                raise _moved(render, f"message {index}", closed, whole, where)
            stop = found
        spans.append((start, stop))
    # What a template writes after the last end-of-turn is never learnt and predicts nothing.
    text = whole[: spans[-1][1]]
    wanted = [messages[index].get("train", True) for index in answers]
    if train_on == "all":
        learnt = _around([s for s, w in zip(spans, wanted, strict=True) if not w], len(text))
    else:
        learnt = [s for s, w in zip(spans, wanted, strict=True) if w]
        if train_on == "last":
            learnt = [span for span in learnt if span == spans[-1]]
    return Rendered(text, tuple(learnt), spans[0][0])


def _around(holes: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """The parts of a text that lie outside of some spans."""
    edges = [0, *(edge for hole in holes for edge in hole), length]
    parts = zip(edges[::2], edges[1::2], strict=True)
    return [(start, stop) for start, stop in parts if start < stop]


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
