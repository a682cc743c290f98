"""Adds the reference to the site: pages made of the code itself, at every build."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anima_reference import PAGES
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every entry of `PAGES`."""
    for name, make in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=make()))
    return files
