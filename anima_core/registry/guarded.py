"""What some hooks hand over works only later; here it is still its strategy's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import cast

from anima_core.contracts import Record
from anima_core.errors import AnimaError
from anima_core.registry.answers import check_record
from anima_core.registry.blame import carefully, quietly, replaced
from anima_core.registry.globals import watched

Fault = Callable[[str], Exception]
"""Makes the error to raise of what is to be said of a strategy's hook."""

_END = object()


class GuardedPatch(AbstractContextManager[None]):
    """A `patch_model` strategy's context manager: watched as it is entered and left.

    An exception of the run passes through it, whatever it makes of it.
    """

    def __init__(self, patch: AbstractContextManager[None], fault: Fault) -> None:
        self._patch = patch
        self._fault = fault

    def __enter__(self) -> None:
        """Enter it.

        Raises:
            SetupError: it fails, or changes more than the model.
        """
        with watched() as changed:
            quietly(self._patch.__enter__, self._fault)
        if changed:
            fault = self._fault(replaced(changed))
            try:
                quietly(lambda: self._patch.__exit__(None, None, None), self._fault)
            except AnimaError as error:
                raise fault from error
            raise fault

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it; what it answers is not asked for."""
        carefully(lambda: self._patch.__exit__(kind, error, traceback), self._fault)


def guarded_records(records: Iterable[Record], fault: Fault) -> Iterator[Record]:
    """The records that a `read_data` strategy gives, each looked at as it comes.

    Raises:
        AnimaError: as the strategy raised it.
        SetupError: it gives something else, fails in another way, or replaces what every model
            shares.
    """
    with watched() as changed:
        inner = quietly(lambda: iter(records), fault)
        while (record := quietly(lambda: next(inner, _END), fault)) is not _END:
            if problem := check_record(record):
                raise fault(problem)
            yield cast("Record", record)
    if changed:
        raise fault(replaced(changed))
