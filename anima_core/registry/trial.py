"""Call a strategy's hooks once, with a tiny model and little data, as a run would."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from anima_core.quiet import quiet_libraries
from anima_core.registry.guarded import GuardedPatch, guarded_records
from anima_core.registry.selection import Provider, Selection, fault_of
from anima_core.testing import run_context, save_tiny, tiny_config, tiny_model

_ROWS = [{"prompt": f"Say {n}", "completion": "one " * (n + 1)} for n in range(4)]


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
        self._model_dir = folder / "model"
        self._data = folder / "data.jsonl"
        if not self._model_dir.exists():
            save_tiny(self._model_dir)
            text = "".join(json.dumps(row) + "\n" for row in _ROWS)
            self._data.write_text(text, encoding="utf-8")
        self._run = run_context(
            strategies=selection.strategies,
            model_dir=self._model_dir,
            model_config=tiny_config(),
            run_dir=folder / "run",
            model=str(self._model_dir),
            data=(str(self._data),),
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
            answer = self._selection.ask(self._provider, hook, self._arguments(hook))
            fault = fault_of(self._provider, hook)
            if hook == "patch_model":
                with GuardedPatch(answer, fault):
                    pass
            elif hook == "read_data":
                for _ in islice(guarded_records(answer, fault), len(_ROWS)):
                    pass
            elif hook == "validate":
                errors = [problem.what for problem in answer if problem.level == "error"]
                self.refused = errors[0] if errors else ""

    def _arguments(self, hook: str) -> Mapping[str, Any]:
        return {"run": self._run, **_ARGUMENTS.get(hook, _nothing)(self)}

    def _config(self) -> dict[str, Any]:
        return {"config": copy.deepcopy(self._run.model_config)}

    def _loading(self) -> dict[str, Any]:
        attention = self._selection.call("attention", run=self._run)
        return {**self._config(), "attention": attention}

    def _model(self) -> dict[str, Any]:
        return {"model": tiny_model()}

    def _sources(self) -> dict[str, Any]:
        return {"sources": (str(self._data),)}

    def _groups(self) -> dict[str, Any]:
        return {"groups": [{"params": list(tiny_model().parameters()), "weight_decay": 0.0}]}

    def _shape(self) -> dict[str, Any]:
        from anima_core.runs.memory import memory_shape

        return {"shape": memory_shape(self._run)}


def _nothing(_trial: Trial) -> dict[str, Any]:
    return {}


_ARGUMENTS: Mapping[str, Callable[[Trial], dict[str, Any]]] = {
    "configure_model": Trial._config,
    "load_model": Trial._loading,
    "adapt_model": Trial._model,
    "patch_model": Trial._model,
    "read_data": Trial._sources,
    "optimizer": Trial._groups,
    "estimate_memory": Trial._shape,
}
