"""Readers of the formats that a completion is learnt from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any

from anima_core.contracts import Record
from anima_core.data.field import bad_field, text
from anima_core.data.formats import parts
from anima_core.data.formats.example import Parts

SELF_INSTRUCT = (
    "the prompt's last line 'Output:' and the completion's leading space and <|endoftext|> were "
    "taken off: the chat template says where an answer begins and ends "
    "(--format prompt-completion keeps them)"
)
_OUTPUT = re.compile(r"\s*\n\s*Output:\s*\Z")
_END = "<|endoftext|>"
_ANSWERING = ("assistant", "tool")


def dialogue_in(field: str) -> Callable[[Record], Parts]:
    """Reader of a list of messages."""
    return lambda record: Parts(parts.answered(record, field))


def alpaca(record: Record) -> Parts:
    """``instruction``, ``input`` and ``output`` (Taori et al. 2023)."""
    output = text(record, "output", record.fields["output"])
    answer = {"role": "assistant", "content": output}
    return Parts((*parts.instruction(record), answer))


def prompt_and(field: str) -> Callable[[Record], Parts]:
    """Reader of a prompt and an answer in `field`."""
    return lambda record: Parts((*parts.prompt(record), *parts.answer(record, field)))


def question_and(question: str, field: str) -> Callable[[Record], Parts]:
    """Reader of a question and an answer that are text."""
    return lambda record: Parts((parts.user(record, question), *parts.answer(record, field)))


def long_data(record: Record) -> Parts:
    """A long ``source`` and a short ``target``; or ``prompt`` and ``completion``, as Anima's."""
    there = [name for name in ("prompt", "completion") if parts.given(record.fields, name)]
    if not all(parts.given(record.fields, name) for name in ("source", "target")):
        return question_and("prompt", "completion")(record)
    found = question_and("source", "target")(record)
    if not there:
        return found
    remark = f"{' and '.join(there)} not read: source and target are there"
    return found._replace(remarks=(remark,))


def is_self_instruct(fields: Mapping[str, Any]) -> bool:
    """Whether a prompt and completion keep to the conventions of Self-Instruct's data."""
    prompt, completion = fields.get("prompt"), fields.get("completion")
    return isinstance(completion, str) and isinstance(prompt, str) and bool(_OUTPUT.search(prompt))


def self_instruct(record: Record) -> Parts:
    r"""``prompt`` up to ``\n\nOutput:``, and ``completion`` (Wang et al. 2023)."""
    asked = text(record, "prompt", record.fields["prompt"])
    answer = text(record, "completion", record.fields["completion"]).rstrip()
    prompt, answer = _OUTPUT.sub("", asked), answer.removesuffix(_END).removeprefix(" ")
    for field, left in (("prompt", prompt), ("completion", answer)):
        if not left.strip():
            raise bad_field(record, field, "nothing besides the format's own marks", "text")
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": answer})
    return Parts(messages, remarks=(SELF_INSTRUCT,))


def plain_text(record: Record) -> Parts:
    """``text``, as it stands."""
    return Parts(text=text(record, "text", record.fields["text"]))


def with_verdict(record: Record) -> Parts:
    """An answer in any of the completions' ways, and ``label``.

    Of a dialogue the verdict is on all that follows the last message which is not the
    assistant's or a tool's.

    Raises:
        DataError: the label is no verdict.
    """
    fields = record.fields
    label = parts.verdict(fields, numbers=True)
    if label is None:
        raise parts.no_verdict(record)
    for field in ("messages", "conversations"):
        if parts.given(fields, field):
            found = parts.answered(record, field)
            last = takewhile(lambda message: message["role"] in _ANSWERING, reversed(found))
            return Parts(found, label=label, judged=len(list(last)))
    answer = parts.answer(record, "completion" if parts.given(fields, "completion") else "response")
    return Parts((*parts.prompt(record), *answer), label=label, judged=len(answer))
