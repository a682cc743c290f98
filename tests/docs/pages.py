"""Read the blocks of a documentation page: commands to run, and files to write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_BLOCK = re.compile(r"^```(\w+)(?: +([^\n]*))?\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')
_SNIPPET = re.compile(r'^--8<-- "([^"]+)"$', flags=re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A line after ``$`` in a console block, and the lines that the page shows below it."""

    line: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """A block with a title: a file of that name."""

    path: str
    text: str


def steps(page: Path) -> Iterator[Command | Written]:
    """What a page tells its reader to do, in order."""
    for language, info, body in _BLOCK.findall(page.read_text(encoding="utf-8")):
        title = _TITLE.search(info)
        if title:
            yield Written(title[1], _SNIPPET.sub(_snippet, body))
        elif language == "console":
            yield from _commands(body)


def _snippet(match: re.Match[str]) -> str:
    return (ROOT / match[1]).read_text(encoding="utf-8").rstrip("\n")


def _commands(body: str) -> Iterator[Command]:
    assert body.startswith("$ "), f"a console block begins with a command: {body!r}"
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        line, _, shown = re.sub(r"\\\n\s*", "", part).partition("\n")
        yield Command(line, tuple(s for s in shown.splitlines() if s.strip()))


def command_lines() -> list[tuple[str, str]]:
    """Every line that begins with ``anima`` in a code block of any page, with its page's name."""
    found = []
    for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), ROOT / "CONTRIBUTING.md"]:
        text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
        lines = re.findall(r"^(?:    |\$ |)(anima [a-z].*)$", text, flags=re.MULTILINE)
        lines += re.findall(r"`(anima [a-z][^`]*)`", " ".join(text.split("\n")))
        found += [(page.name, re.sub(r"\s+#.*| \u2026.*", "", line).strip()) for line in lines]
    return list(dict.fromkeys(found))
