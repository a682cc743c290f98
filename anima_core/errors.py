"""Errors that a person at the keyboard can act on, each with its exit code."""

from __future__ import annotations


class AnimaError(Exception):
    """Something a user can mend: what was wrong, where, and what to do.

    Args:
        what: what was wrong, in one sentence.
        where: the file and line, the option or the strategy it concerns.
        fix: what to do about it.

    Attributes:
        exit_code: what the command exits with.
        shared: whether every process of a run raises it, so that the first one's words do for all.
    """

    exit_code = 1
    shared = False

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  {self.fix}" if self.fix else head


class UsageError(AnimaError):
    """A usage or configuration error: unknown option, missing model, existing output."""

    exit_code = 2


class DataError(AnimaError):
    """A malformed record, or data without a trainable example."""

    exit_code = 3


class SetupError(AnimaError):
    """A missing or broken environment: a package, a plugin that does not import."""

    exit_code = 4


class DivergedError(AnimaError):
    """The loss or the gradient stopped being finite; the optimizer did not step."""

    exit_code = 5
    shared = True


class InterruptedRunError(AnimaError):
    """The run was stopped by a signal, after a checkpoint was saved."""

    shared = True

    def __init__(self, signal_number: int, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where=where, fix=fix)
        self.exit_code = 128 + signal_number
