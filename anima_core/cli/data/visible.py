"""Text in which everything that is there can be seen, and nothing acts on the screen."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    """A token's text with line ends, tabs and invisible characters made visible.

    A line end is ``↵`` and the line end itself. What would move the cursor, hide or turn text
    (control and format characters, other separators) is written as an escape.
    """
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character == "\n":
        return "↵\n"
    if character == "\t":
        return "→"
    kind = unicodedata.category(character)
    # A zero-width joiner holds an emoji together; a lone one is not what hides text.
    if character != "\u200d" and (kind[0] == "C" or kind in ("Zl", "Zp")):
        return character.encode("unicode_escape").decode("ascii")
    if kind == "Zs" and character not in (" ", "\u3000"):
        return f"\\u{ord(character):04x}"
    return character
