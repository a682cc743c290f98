"""Whether a chat template writes the tools of a dialogue; many leave them out without a word."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from anima_core.data.chat import Renderer
from anima_core.data.turns import Message
from anima_core.errors import DataError


def check_tools(
    render: Renderer,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    text: str,
    where: str,
) -> None:
    """Refuse a template that leaves out tools, calls or answers.

    Args:
        render: the chat template.
        messages: the dialogue.
        tools: what the assistant may call.
        text: the dialogue's text with them.
        where: the record's place, for the error.

    Raises:
        DataError: naming what is missing from the text.
    """
    missing = next(_missing(render, messages, tools, text), None)
    if missing is None:
        return
    writer = "the plain layout" if render.plain else f"the chat template of {render.name}"
    raise DataError(
        f"{writer} leaves out {missing}, so the model would not learn the call",
        where=where,
        fix="name a template that writes tools (--template chatml-tools, or a file of your own), "
        "or leave the record out",
    )


def _missing(
    render: Renderer,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    text: str,
) -> Iterator[str]:
    if tools and render(messages) == text:
        yield "'tools'"
    for index, message in enumerate(messages):
        for call in message.get("tool_calls", ()):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            if name not in text or not all(_stands(str(a), text) for a in arguments):
                yield f"the call of {name!r} in message {index}"
        if message["role"] == "tool" and not _stands(message["content"].strip(), text):
            yield f"the tool's answer in message {index}"


def _stands(content: str, text: str) -> bool:
    """Whether a text holds some content as it is, or as JSON."""
    forms = (json.dumps(content, ensure_ascii=escaped)[1:-1] for escaped in (False, True))
    return content in text or any(form in text for form in forms)
