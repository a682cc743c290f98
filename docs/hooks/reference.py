"""Adds the reference to the site, made of the code itself at every build, and plugins' READMEs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anima_reference import PAGES
from anima_reference.plugins import PLUGINS, plugin_page
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every entry of `PAGES`, and one for every bundled plugin."""
    for name, make in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=make()))
    for name in PLUGINS:
        files.append(File.generated(config, f"plugins/{name}.md", content=plugin_page(name)))
    return files
