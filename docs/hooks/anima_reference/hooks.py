"""The page of the hooks."""

from __future__ import annotations

from anima_core.hookspecs import HOOK_API, HOOKS, AnimaSpecs
from anima_reference.markdown import docstring, heading, signature, table

_HEAD = f"""# Hooks

Every hook that a strategy may implement, from `anima_core.hookspecs`. A *slot* is answered by
exactly one selected strategy; a *stack* is called on every selected strategy, in the order of the
command line. Mark a method with `@anima_core.hookimpl`. It takes the parameters that it names, in
any order, and any of them may be left out; none may have a default.

The version of the hook API is `{HOOK_API}`; a strategy declares the one it was written for as
`api`.
"""


def hooks_page() -> str:
    """Every hook with its kind, default, signature, meaning and the version it came with."""
    rows = [
        [
            f"[`{name}`](#{name})",
            info.kind,
            f"`{info.default}`" if info.default else "",
            str(info.since),
        ]
        for name, info in HOOKS.items()
    ]
    parts = [_HEAD, table(["hook", "kind", "default", "since API"], rows)]
    for name, info in HOOKS.items():
        kind = f"*{info.kind}*"
        if info.default:
            kind += f", answered by [`{info.default}`](strategies.md#{info.default}) by default"
        specification = getattr(AnimaSpecs, name)
        parts += [
            heading(2, name, name),
            f"{kind}; since hook API {info.since}.",
            signature(name, specification, method=True),
            docstring(specification),
        ]
    return "\n\n".join(parts) + "\n"
