"""Markdown out of docstrings, signatures and tables."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

_SECTION = re.compile(r"[A-Z][A-Za-z ]*:")
_ITEM = re.compile(r"(\*{0,2}\w[\w\[\]|]*(?:, \*{0,2}\w+)*)(?: \([^)]*\))?: ?(.*)")
_WIDEST = 88


def heading(level: int, name: str, anchor: str) -> str:
    """A heading with an anchor of its own; double underscores would be read as markup there."""
    return f"{'#' * level} {code(name)} {{ #{anchor.replace('__', '')} }}"


def code(text: str) -> str:
    """A code span, whatever the text holds."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar in a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def prose(text: str) -> str:
    """Plain text of a docstring or a help text: angle brackets are not tags."""
    parts = re.split(r"(`[^`]*`)", text.replace("``", "`"))
    return "".join(p if p.startswith("`") else p.replace("<", "&lt;") for p in parts)


def docstring(target: object) -> str:
    """An object's docstring as Markdown; its sections become bold words and lists."""
    text = inspect.getdoc(target)
    return "\n\n".join(_blocks(text)) if text else ""


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs, lists, literal blocks and sections, in order."""
    for block in _sections(text.splitlines()):
        first, *rest = block
        if rest and _SECTION.fullmatch(first):
            yield f"**{first.removesuffix(':')}**"
            yield from _section(inspect.cleandoc("\n".join(["", *rest])).splitlines())
        else:
            yield from _paragraphs(block)


def _sections(lines: Sequence[str]) -> Iterator[list[str]]:
    """Runs of lines, a new one at every section's head and after every section."""
    block: list[str] = []
    for line in lines:
        starts = bool(_SECTION.fullmatch(line))
        ends = bool(block) and _SECTION.fullmatch(block[0]) and line and not line.startswith(" ")
        if block and (starts or ends):
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _section(lines: Sequence[str]) -> Iterator[str]:
    """The body of a section: a list of its items, or paragraphs."""
    if not _ITEM.fullmatch(lines[0]):
        yield from _paragraphs(lines)
        return
    items: list[tuple[str, list[str]]] = []
    for line in lines:
        match = _ITEM.fullmatch(line)
        if match and not line.startswith(" "):
            items.append((match[1], [match[2]]))
        else:
            items[-1][1].append(line.strip())
    yield "\n".join(f"- {code(name)}: {prose(' '.join(body))}" for name, body in items)


def _paragraphs(lines: Sequence[str]) -> Iterator[str]:
    literal = False
    for part in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        if not part.strip():
            continue
        if part.startswith("    ") or literal:
            yield "```text\n" + inspect.cleandoc("\n" + part) + "\n```"
            literal = False
            continue
        literal = part.endswith("::")
        yield prose(part[:-1] if literal else part)


class _Bare:
    """An annotation that is shown as it was written, without quotation marks."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def signature(name: str, function: Callable[..., Any], *, method: bool = False) -> str:
    """A function's signature as a code block, a parameter a line where it is long.

    Args:
        name: what it is called.
        function: the function or class.
        method: whether its first parameter is ``self``.
    """
    written = inspect.signature(function)
    parameters = [_bare(p) for p in list(written.parameters.values())[int(method) :]]
    returns = written.return_annotation
    shown = inspect.Signature(
        parameters, return_annotation=_Bare(returns) if isinstance(returns, str) else returns
    )
    text = f"{name}{shown}"
    if len(text) > _WIDEST:
        lines = ",\n    ".join(_lines(parameters))
        text = f"{name}(\n    {lines},\n){str(shown.replace(parameters=[]))[2:]}"
    return f"```python\n{text}\n```"


def _bare(parameter: inspect.Parameter) -> inspect.Parameter:
    written = parameter.annotation
    return parameter.replace(annotation=_Bare(written)) if isinstance(written, str) else parameter


def _lines(parameters: Sequence[inspect.Parameter]) -> Iterator[str]:
    """Parameters, and the star before those that are given by keyword only."""
    kinds = inspect.Parameter
    starred = any(p.kind is kinds.VAR_POSITIONAL for p in parameters)
    for parameter in parameters:
        if parameter.kind is kinds.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        yield str(parameter)
