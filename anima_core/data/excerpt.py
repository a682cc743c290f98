"""The text around a place, with a caret below it."""

from __future__ import annotations

import unicodedata

WIDTH = 60
"""Characters of an excerpt, at most."""

_INDENT = "    "


def excerpt(text: str, at: int) -> str:
    """Two indented lines: the text around a character, on its own line, and a caret below.

    Args:
        text: any amount of text.
        at: index of the character; ``len(text)`` means the end.

    Returns:
        The lines, each begun by a line break, so that it can follow a message; nothing if there
        is no text on that line.
    """
    half = WIDTH // 2 - 1
    low = max(at - half, text.rfind("\n", max(at - half, 0), at) + 1, 0)
    high = text.find("\n", at, at + half)
    high = min(at + half, len(text)) if high < 0 else high
    before, after = _plain(text[low:at]), _plain(text[at:high].rstrip("\r"))
    if not (before + after).strip():
        return ""
    if low and text[low - 1] != "\n":
        before = "…" + before
    if high < len(text) and text[high] not in "\r\n":
        after += "…"
    return f"\n{_INDENT}{before}{after}\n{_INDENT}{' ' * _columns(before)}^"


def _plain(text: str) -> str:
    """Text of which every character can be printed and takes its place on the line."""
    return "".join(c if c.isprintable() else " " if c == "\t" else "·" for c in text)


def _columns(text: str) -> int:
    """Columns of a terminal that a text takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))
