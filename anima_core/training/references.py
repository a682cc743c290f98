"""The reference log-probs of a run: of what it trains on, and of what it is evaluated on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any

from anima_core.runs.memory import frozen_weights
from anima_core.training.build import adapter_folder
from anima_core.training.reference import STAGE, Asked, LogpsOf, Reference, reference_for
from anima_core.training.reference_facts import data_facts, model_facts, told_of
from anima_core.training.reference_pass import any_cut, tokens_in_flight, tokens_of_held_out

if TYPE_CHECKING:
    from pathlib import Path

    from anima_core.contracts import Adapter
    from anima_core.runs.prepared import Prepared
    from anima_core.runs.reporter import Reporter
    from anima_core.training.reference_model import ReferenceModel
    from anima_core.training.signals import StopSignal


class References:
    """Computes them, by whichever model they come from, at the time when it is in memory.

    Args:
        prepared: the run.
        other: the model that they come from, or None for the policy as training starts.
        seen: the examples that the run trains on.
        reporter, stop: the run's.

    Attributes:
        training, held_out: the log-probs; None where the loss uses none, or there is no such data.
        seconds: how long it took to have them, by ``training`` and ``held_out``, the loading of
            another model counted in with the one that it was loaded for.
    """

    def __init__(
        self,
        prepared: Prepared,
        other: ReferenceModel | None,
        seen: Sequence[int],
        reporter: Reporter,
        stop: StopSignal,
    ) -> None:
        self._prepared = prepared
        self._other = other
        self._seen = seen
        self._reporter = reporter
        self._stop = stop
        self.training: Reference | None = None
        self.held_out: Reference | None = None
        self.seconds: dict[str, float] = {}

    def by_another_model(self) -> None:
        """Before the policy is loaded: where another model is the reference, load, ask, free it."""
        other = self._other
        if other is None or not self._prepared.loss.uses_reference:
            return
        run, selection = self._prepared.run, self._prepared.selection
        with ExitStack() as stack:

            @cache
            def loaded() -> LogpsOf:
                return stack.enter_context(other.loaded(self._reporter)).logps

            held = frozen_weights(other.beside, other.selection)
            tokens = tokens_in_flight(run, selection, other.beside, held)
            self._ask(loaded, other.facts(), tokens)

    def by_the_policy(self, module: Any, adapter: Adapter, base: Path) -> None:
        """Before the first update: where the policy is its own reference, ask it.

        Args:
            module: what runs the model.
            adapter: what is trained, as training starts.
            base: the folder of the base model.
        """
        prepared = self._prepared
        if self._other is not None or not prepared.loss.uses_reference:
            return
        start = prepared.source.run
        trained = adapter_folder(start, adapter) if start is not None else None
        facts = model_facts(prepared.run, prepared.selection, base, trained, prepared.attention)

        def policy() -> LogpsOf:
            module.eval()
            return lambda batch: module(batch, None, "targets")

        self._ask(policy, facts, tokens_in_flight(prepared.run, prepared.selection))

    def _ask(self, logps_of: Callable[[], LogpsOf], facts: dict[str, Any], tokens: int) -> None:
        prepared = self._prepared
        plan, run = prepared.plan, prepared.run
        held_out = range(len(prepared.eval_examples))

        def ask(
            examples: Sequence[Any],
            rows: Sequence[int],
            data: Any,
            tokens: int,
            name: str = STAGE,
        ) -> Reference | None:
            if not examples or data is None:
                return None
            asked = Asked(
                examples=examples,
                rows=rows,
                facts={**facts, **data_facts(data, rows, run, tokens)},
                device=run.device,
                tokens=tokens,
                any_cut=any_cut(run),
                cache=run.config.cache,
                name=name,
                told={"part": name, **told_of(data, run)},
            )
            began = time.perf_counter()
            found = reference_for(asked, logps_of, self._reporter, self._stop)
            self.seconds["training" if data is plan.data else "held_out"] = round(
                time.perf_counter() - began, 3
            )
            return found

        name = f"{STAGE} of held-out data"
        as_evaluated = tokens_of_held_out(run, tokens)
        self.held_out = ask(prepared.eval_examples, held_out, plan.eval_data, as_evaluated, name)
        self.training = ask(prepared.examples, self._seen, plan.data, tokens)
