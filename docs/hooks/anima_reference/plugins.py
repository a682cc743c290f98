"""The pages of the bundled plugins: their READMEs, with links that hold inside the site."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "plugins"

PLUGINS = tuple(sorted(readme.parent.name for readme in FOLDER.glob("*/README.md")))
"""The folders of the bundled plugins."""

_MOVED = {"](../../README.md": "](../index.md", "](../../docs/": "](../"}
"""What a README's links begin with, and the same from its page of the site."""


def plugin_page(name: str) -> str:
    """The README of a plugin.

    Args:
        name: its folder.
    """
    title, _, text = (FOLDER / name / "README.md").read_text(encoding="utf-8").partition("\n")
    for old, new in _MOVED.items():
        text = text.replace(old, new)
    return f"{title}\n\n*The README of the folder `plugins/{name}`.*\n{text}"
