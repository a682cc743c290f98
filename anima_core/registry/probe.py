"""The child process that tries strategies: ``python -m anima_core.registry.probe``.

Standard input is one JSON object: ``path`` (where to look for packages), ``disabled``, and
``jobs``, a list of ``{reference, hooks, diagnose}``. Standard output is one JSON object a line,
written as things happen, so that the parent knows what a strategy was at when the process ended or
hung: ``{"at": step, "slow": bool}``, and ``{"report": …}`` when a strategy is done.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from anima_core.errors import AnimaError
from anima_core.registry.blame import FaultError
from anima_core.registry.load import implemented, load_strategy
from anima_core.registry.offers import find_offer, offers
from anima_core.registry.report import BUILD, IMPORT, LIBRARIES, Report
from anima_core.registry.selection import Provider, Selection, select

Say = Callable[..., None]
"""Tells the parent."""


def main() -> None:
    """Do the jobs that stand on standard input."""
    asked = json.load(sys.stdin)
    sys.path[:] = asked["path"]
    importlib.invalidate_caches()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a strategy prints is no answer

    def say(**words: Any) -> None:
        answers.write(json.dumps(words) + "\n")
        answers.flush()

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for job in asked["jobs"]:
            report = Report()
            try:
                _Job(job, asked["disabled"], Path(folder), report, say).carry_out()
            except AnimaError as error:
                report.broken, report.fix = error.what, error.fix
            say(report=report.to_dict())


class _Job:
    """Trying one strategy."""

    def __init__(
        self, job: Mapping[str, Any], disabled: list[str], folder: Path, report: Report, say: Say
    ) -> None:
        self.job = job
        self.disabled = disabled
        self.folder = folder
        self.report = report
        self.say = say

    def carry_out(self) -> None:
        """Load it, build it, and call what was asked for.

        Raises:
            AnimaError: it does not load.
        """
        reference = self.job["reference"]
        self.say(at=IMPORT)
        cls = load_strategy(find_offer(reference, offers(self.disabled)))
        self.report.summary = cls.summary
        self.report.slots = cls.slots
        self.report.hooks = tuple(sorted(implemented(cls)))
        self.say(at=BUILD, report=self.report.to_dict())
        needed = [n for n, field in cls.Options.model_fields.items() if field.is_required()]
        if needed:
            self._note(f"its hooks were not tried: its option `{needed[0]}` has no default")
            return
        try:
            selection = select({name: {} for name in (reference, *cls.requires)}, self.disabled)
        except FaultError as error:
            self.report.faults[BUILD] = error.what
            return
        except AnimaError as error:
            self._note(f"its hooks were not tried: {error.where}: {error.what}")
            return
        self._try_hooks(selection, selection.members[0])

    def _try_hooks(self, selection: Selection, provider: Provider) -> None:
        hooks = [name for name in self.report.hooks if name != "diagnose"]
        if self.job["hooks"] and hooks:
            self.say(at=LIBRARIES, slow=True)
            from anima_core.registry.trial import Trial

            trial = Trial(selection, provider, self.folder)
            for hook in sorted(hooks, key=lambda name: name != "validate"):
                self.say(at=hook)
                self._guard(hook, partial(trial.attempt, hook))
                if trial.refused:
                    self._note(f"its hooks were not tried: {trial.refused}")
                    break
        if self.job["diagnose"] and "diagnose" in self.report.hooks:
            self.say(at="diagnose", slow=True)
            self._guard("diagnose", lambda: self._diagnose(selection, provider))

    def _diagnose(self, selection: Selection, provider: Provider) -> None:
        self.report.findings = tuple(selection.ask(provider, "diagnose", {}))

    def _guard(self, hook: str, action: Callable[[], None]) -> None:
        try:
            action()
        except FaultError as error:
            if _wants_the_network(error.__cause__):
                self._note(f"its hook `{hook}` was not tried to the end: it wants the network")
            else:
                self.report.faults[hook] = error.what
        except AnimaError as error:
            self._note(f"its hook `{hook}` refuses here: {error.what}")

    def _note(self, text: str) -> None:
        self.report.notes += (text,)


_NETWORK = frozenset({"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectionError"})


def _wants_the_network(error: BaseException | None) -> bool:
    """Whether an exception comes of the network's absence: a trial downloads nothing."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if any(base.__name__ in _NETWORK for base in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    main()
