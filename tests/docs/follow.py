"""Follow a documentation page line by line, as its reader would."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from overlay import Overlay
from pages import Command, Written, steps


def follow(page: Path, environment: Overlay, folder: Path) -> int:
    """Write the files of a page and run its commands, in order; how many commands ran.

    ``pip install -e NAME`` is done as the overlay does it: without dependencies, an isolated build
    or an index, so that nothing is downloaded. Each line that the page shows below
    a command must occur in its output, in the page's order; ``...`` stands for anything. A command
    must succeed, unless a comment after it names another exit code.
    """
    ran = 0
    for step in steps(page):
        if isinstance(step, Written):
            path = folder / step.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text, encoding="utf-8")
            continue
        ran += 1
        line, code = _exit_code(step.line)
        words = shlex.split(line)
        if words[:2] == ["pip", "install"]:
            assert words[2] == "-e", f"{page.name}: only `pip install -e FOLDER`, not {line!r}"
            environment.install(*(folder / word for word in words[3:]), editable=True)
            continue
        done = environment.run(*words, cwd=folder, code=None)
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{page.name}: `{line}` gave {done.returncode}\n{said}"
        _compare(step, said, page.name)
    return ran


def _exit_code(line: str) -> tuple[str, int]:
    command, _, comment = line.partition("    # exit code ")
    return command, int(comment or 0)


def _compare(command: Command, said: str, page: str) -> None:
    """Each line shown must occur in what was said, after the one shown before it.

    Space counts for nothing: tables and wrapped lines depend on the terminal.
    """
    rest = " ".join(said.split())
    for shown in command.shown:
        parts = [re.escape(" ".join(p.split())) for p in shown.split("...") if p.strip()]
        found = re.search(" ?.*?".join(parts), rest)
        assert found, f"{page}: `{command.line}` does not say {shown!r}, but\n{said}"
        rest = rest[found.end() :]
