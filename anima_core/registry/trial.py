"""Call a strategy's hooks once, with a tiny model and little data, as a run would."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from anima_core.quiet import quiet_libraries
from anima_core.registry.guarded import GuardedPatch, guarded_records
from anima_core.registry.selection import Provider, Selection, fault_of
from anima_core.testing.tiny_runs import DATA, arguments_for, tiny_run_in

_RECORDS = 4
"""How many records a reader is asked for."""


class Trial:
    """Tries one strategy's hooks.

    Attributes:
        refused: what an error-level problem of its `validate` says: it refuses this run, so that
            its other hooks need not put up with it.
    """

    def __init__(self, selection: Selection, provider: Provider, folder: Path) -> None:
        self.refused = ""
        self._selection = selection
        self._provider = provider
        self._tiny = tiny_run_in(
            folder,
            strategies=selection.strategies,
            data=(str(folder / DATA),),
            output=folder / "run",
            steps=2,
        )

    def attempt(self, hook: str) -> None:
        """Call a hook, look at its answer, and use what works only later.

        Raises:
            AnimaError: as the strategy raised it.
            FaultError: it breaks what it has to keep.
        """
        with quiet_libraries():
            answer = self._selection.ask(self._provider, hook, arguments_for(hook, self._tiny))
            fault = fault_of(self._provider, hook)
            if hook == "patch_model":
                with GuardedPatch(answer, fault):
                    pass
            elif hook == "read_data":
                for _ in islice(guarded_records(answer, fault), _RECORDS):
                    pass
            elif hook == "validate":
                errors = [problem.what for problem in answer if problem.level == "error"]
                self.refused = errors[0] if errors else ""
