"""What a module costs to import, seen in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from anima_core.testing.projects import import_path

HEAVY = ("torch", "transformers", "peft", "bitsandbytes", "datasets")
"""Packages that nothing may import before work starts."""

# Runs in the fresh interpreter. A finder that finds nothing sees every import that is really
# attempted, and so can say which line asked for it first.
_PROBE = """
import importlib, json, sys, traceback
module, forbidden = sys.argv[1], set(json.loads(sys.argv[2]))
before, asked = set(sys.modules), {}
class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in forbidden and name not in asked:
            frames = [f for f in traceback.extract_stack() if "importlib" not in f.filename]
            frames = [f for f in frames if f.filename != "<string>"]
            asked[name] = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
sys.meta_path.insert(0, Watch)
importlib.import_module(module)
loaded = forbidden & (set(sys.modules) - before)
print(json.dumps({name: asked.get(name, "?") for name in sorted(loaded)}))
"""


def check_import_budget(module: str, forbidden: Sequence[str] = HEAVY) -> None:
    """Importing a module imports none of the forbidden packages.

    A command line is answered before anything heavy is loaded, so the module that an entry point
    names must import heavy packages inside its hooks, or in sibling modules that hooks import.

    Args:
        module: dotted name, e.g. ``"anima_dpo.dpo"``.
        forbidden: top-level packages that must not be loaded.

    Raises:
        AssertionError: one of them is loaded (it names the line that asked first), or the module
            does not import.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, module, json.dumps(list(forbidden))],
        env={**os.environ, "PYTHONPATH": import_path()},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise AssertionError(f"{module} cannot be imported: {last[0]}")
    loaded: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
    if loaded:
        said = "; ".join(f"{name} (first asked for at {where})" for name, where in loaded.items())
        raise AssertionError(f"importing {module} imports {said}")
