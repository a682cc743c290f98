"""`anima plugins new`: a plugin that can be installed, tested and changed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from anima_core.config.paths import home_expanded
from anima_core.scaffold.kinds import hook_of
from anima_core.scaffold.names import check_name
from anima_core.scaffold.render import rendered
from anima_core.scaffold.write import check_place, write_folder


def new_plugin(name: str, slot: str, into: Path) -> int:
    """Write a plugin and say what to do with it; 0.

    Args:
        name: the strategy's name.
        slot: the hook that it begins with.
        into: the folder to make the plugin's folder in.

    Raises:
        UsageError: the name or the slot is not fit, or something is at its place.
    """
    hook = hook_of(slot)
    target = home_expanded(into) / name
    names = check_name(name, hook)
    check_place(target)
    contents = rendered(names, hook)
    write_folder(target, contents)
    tested = shlex.quote(f"{target}[test]")
    lines = [
        f"{target} is a plugin whose strategy `{name}` answers `{hook}`:",
        *(f"    {path}" for path in contents),
        "",
        "It works as it is. Install it, test it, train with it:",
        f"    python -m pip install -e {tested}",
        f"    python -m pytest {shlex.quote(str(target))}",
        f"    anima train demo DATA --{name} --output runs/{name}",
        "",
        f"Then change {target / names.package / hook}.py.",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
