"""The one place that touches transformers' callback machinery.

The loop fires `TrainerCallback` events, so every tracker that transformers knows, and every
callback that a plugin brings, works unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anima_core.errors import UsageError

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainingArguments

    from anima_core.context import RunContext


def training_arguments(run: RunContext, total: int) -> TrainingArguments:
    """A run's options in transformers' own words, for callbacks to read.

    Made before the `Accelerator`: making it resets Accelerate's state.
    """
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(run.run_dir),
        max_steps=total,
        learning_rate=run.config.learning_rate or 0.0,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=run.device == "cpu",
        seed=run.config.seed,
        run_name=run.run_dir.name if run.run_dir else None,
    )


class Events:
    """Fires the events of a run.

    Args:
        run: the run.
        arguments: by `training_arguments`.
        callbacks: the plugins' callbacks.
        model, tokenizer, optimizer, schedule: handed to each callback, as Trainer does.
        total: optimizer steps of the whole run.
    """

    def __init__(
        self,
        run: RunContext,
        arguments: TrainingArguments,
        callbacks: Sequence[TrainerCallback],
        *,
        model: Any,
        tokenizer: Any,
        optimizer: Any,
        schedule: Any,
        total: int,
    ) -> None:
        from transformers import TrainerControl, TrainerState
        from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback

        trackers = make_trackers(run.config.report_to)
        self._args = arguments
        self._handler = CallbackHandler(
            [DefaultFlowCallback, *trackers, *callbacks], model, tokenizer, optimizer, schedule
        )
        main = run.rank == 0
        self._state = TrainerState(
            max_steps=total, is_local_process_zero=main, is_world_process_zero=main
        )
        self._control = TrainerControl()

    @property
    def stop_asked(self) -> bool:
        """Whether a callback asked training to stop."""
        return bool(self._control.should_training_stop)

    def begin(self, step: int) -> None:
        """Training begins, after `step` steps."""
        self._state.global_step = step
        self._control = self._handler.on_train_begin(self._args, self._state, self._control)

    def step_begin(self) -> None:
        """An optimizer step begins."""
        self._control = self._handler.on_step_begin(self._args, self._state, self._control)

    def step_end(self, record: Mapping[str, Any], epoch: float) -> None:
        """An optimizer step ended, with this record of ``metrics.jsonl``."""
        self._state.global_step = int(record["step"])
        self._state.epoch = epoch
        self._control = self._handler.on_step_end(self._args, self._state, self._control)
        self._log(record)

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """An evaluation ended."""
        metrics = dict(record)
        self._control = self._handler.on_evaluate(self._args, self._state, self._control, metrics)
        self._log(record)

    def saved(self) -> None:
        """A checkpoint was saved."""
        self._control = self._handler.on_save(self._args, self._state, self._control)

    def end(self) -> None:
        """Training ended."""
        self._control = self._handler.on_train_end(self._args, self._state, self._control)

    def _log(self, record: Mapping[str, Any]) -> None:
        logs = {k: v for k, v in record.items() if k != "step"}
        self._control = self._handler.on_log(self._args, self._state, self._control, logs)


def make_trackers(names: Sequence[str]) -> list[Any]:
    """Trackers by transformers' names.

    Raises:
        UsageError: there is no such tracker, or its package is not installed.
    """
    if not names:
        return []
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    try:
        return [make() for make in get_reporting_integration_callbacks(list(names))]
    except (ValueError, RuntimeError, ImportError) as error:
        raise UsageError(
            f"it cannot report there: {error}",
            where="--report-to",
            fix="Install it, or leave it out.",
        ) from error
