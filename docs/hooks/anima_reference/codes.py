"""The page of the exit codes."""

from __future__ import annotations

from collections.abc import Iterator

from anima_core import errors
from anima_reference.markdown import code, docstring, table

_HEAD = """# Exit codes

A message says what was wrong, where, and what to do. The exit code says which kind of thing it
was. `--debug` adds the traceback.
"""
_OTHERS = [
    ["0", "", "Done."],
    [
        "1",
        "",
        "A defect of Anima's own, or a check that failed (`anima doctor`, `anima plugins check`).",
    ],
]
_SIGNALS = ["130, 143", "The run was interrupted (SIGINT, SIGTERM), after a checkpoint was saved."]


def exit_codes_page() -> str:
    """Every exit code with the error that has it."""
    rows = [*_OTHERS, *sorted(_errors()), [_SIGNALS[0], "", _SIGNALS[1]]]
    return f"{_HEAD}\n{table(['code', 'error', 'meaning'], rows)}\n"


def _errors() -> Iterator[list[str]]:
    for error in errors.AnimaError.__subclasses__():
        if "exit_code" in vars(error):
            yield [str(error.exit_code), code(error.__name__), docstring(error)]
