"""The one place that turns an exception into words on the screen and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anima_core.errors import AnimaError


def guarded(action: Callable[[], int], *, debug: bool) -> int:
    """Run a command; the exit code, with an exception told in words.

    Args:
        action: the command.
        debug: whether to show tracebacks.
    """
    from anima_core.errors import AnimaError
    from anima_core.training.ranks import is_main

    try:
        return action()
    except KeyboardInterrupt:
        _say("interrupted", "")
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        _close_stdout()
        return 0
    except AnimaError as error:
        _traceback(debug)
        if is_main() or not error.shared:
            _tell(error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - told below, whatever it is
        _traceback(debug)
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            _say("error", f"out of memory: {_first_line(error)}")
            _say("", "Lower --micro-tokens or --max-length, or add --gradient-checkpointing.")
            return 4
        _say("defect", f"{type(error).__name__}: {_first_line(error)}")
        _say("", "This is a defect of Anima, not of your command line. Please report it")
        _say("", "with the traceback." if debug else "with the traceback that --debug shows.")
        return 1


def _tell(error: AnimaError) -> None:
    _say("error", f"{error.where}: {error.what}" if error.where else error.what)
    for line in error.fix.splitlines():
        _say("", line)


def _say(kind: str, text: str) -> None:
    from rich.text import Text

    from anima_core.cli.consoles import stderr

    head = Text(f"{kind}: " if kind else "  ", style="bold red")
    stderr().print(head + Text(text), soft_wrap=True)


def _traceback(debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]


def _close_stdout() -> None:
    """Let the interpreter's last flush go nowhere: it would complain of the closed pipe."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
