r"""Where in a dialogue's text the answers stand.

    <|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>\n
    |--------------- generation prompt ------------------||-- answer --|

An answer runs from the end of its generation prompt to its end-of-turn token. Both ends are
found by rendering the dialogue up to there, never by searching for markers or by token ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anima_core.data.chat import Renderer
from anima_core.data.turns import Message
from anima_core.errors import DataError


@dataclass(frozen=True)
class Rendered:
    """A dialogue as text.

    Attributes:
        text: the text, up to the end of the last answer's turn.
        spans: start and stop, in characters, of each answer that is to be learnt.
    """

    text: str
    spans: tuple[tuple[int, int], ...]

    @property
    def boundary(self) -> int:
        """Where the first answer to be learnt begins."""
        return self.spans[0][0]


def render_spans(render: Renderer, messages: Sequence[Message], first: int, where: str) -> Rendered:
    """Render a dialogue and find the assistant's turns from message `first` on.

    Args:
        render: the chat template.
        messages: the dialogue; the last message is the assistant's.
        first: index of the first message that may be learnt.
        where: the record's place, for errors.

    Raises:
        DataError: the template refuses the dialogue, or writes its beginning differently once
            more follows, so that an answer's place in the text cannot be known.
    """
    whole = render(messages, where=where)
    last = len(messages) - 1
    spans = []
    for index in range(first, len(messages)):
        if messages[index]["role"] != "assistant":
            continue
        prompt = render(messages[:index], add_generation_prompt=True, where=where)
        if not whole.startswith(prompt):
            raise _moved(render, f"the prompt of message {index}", prompt, whole, where)
        if index == last:
            stop = len(whole.rstrip())
        else:
            stop = _turn_end(render, messages[: index + 1], whole, len(prompt), where)
        spans.append((len(prompt), stop))
    # What a template writes after the last end-of-turn is never learnt and predicts nothing.
    return Rendered(whole[: spans[-1][1]], tuple(spans))


def _turn_end(
    render: Renderer, messages: Sequence[Message], whole: str, start: int, where: str
) -> int:
    """Where the turn of the last of `messages` ends in a text in which more follows."""
    closed = render(messages, where=where)
    if whole.startswith(closed):
        return len(closed.rstrip())
    # Some templates treat the last turn specially (Qwen3 puts an empty <think> block before it,
    # Phi-3 ends the text with EOS). The turn's end is still certain where the content itself
    # stands at its place, followed by a special token.
    content = messages[-1]["content"].strip()
    at = start + len(whole[start:]) - len(whole[start:].lstrip())
    end = render.special_pattern.match(whole, at + len(content))
    if whole.startswith(content, at) and end:
        return end.end()
    raise _moved(render, f"message {len(messages) - 1}", closed, whole, where)


def _moved(render: Renderer, what: str, part: str, whole: str, where: str) -> DataError:
    same = next(
        (i for i, (a, b) in enumerate(zip(part, whole, strict=False)) if a != b),
        min(len(part), len(whole)),
    )
    return DataError(
        f"the chat template of {render.name} writes {what} differently once more follows: "
        f"{part[same : same + 30]!r} becomes {whole[same : same + 30]!r}",
        where=where,
        fix="give the model's folder a chat_template in which a dialogue's text begins with the "
        "text of its beginning (no text added to the generation prompt, no turn rewritten)",
    )
