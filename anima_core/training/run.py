"""A run from its first file to its last.

With several processes every one of them goes through these stages. The first alone writes the run
directory and answers the sample prompts; what fails in one fails in all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anima_core.cache import whole_folder
from anima_core.data.batching import Batches, lengths_of
from anima_core.errors import DivergedError, InterruptedRunError, UsageError
from anima_core.model.folder import model_folder
from anima_core.registry.attribution import attributed
from anima_core.runs.folder import RunFolder, State, check_output, replaced
from anima_core.runs.held_out import changes, told
from anima_core.runs.manifest import now
from anima_core.runs.prepared import Prepared
from anima_core.runs.prompts import sample_prompts
from anima_core.runs.report import write_report
from anima_core.runs.reporter import Reporter
from anima_core.training.build import Built, build_model
from anima_core.training.checkpoint import (
    Trained,
    checkpoint_folder,
    load_checkpoint,
    save_checkpoint,
)
from anima_core.training.evaluate import evaluate
from anima_core.training.opening import check_agreement, open_run, step_to_start_from
from anima_core.training.ranks import is_main
from anima_core.training.reference_model import ReferenceModel, reference_model
from anima_core.training.references import References
from anima_core.training.samples import take_samples
from anima_core.training.signals import StopSignal, stop_signals
from anima_core.training.talk import exchange, first_here, from_main, together
from anima_core.training.watcher import Watcher


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        run_dir: its folder.
        steps: optimizer steps taken in all.
        loss: the last step's; None when there was none left to take.
    """

    run_dir: Path
    steps: int
    loss: float | None


def train(prepared: Prepared, reporter: Reporter) -> RunResult:
    """Carry out a plan. Called by every process of a run.

    Raises:
        AnimaError: the plan's errors; a divergence; an interruption, after a checkpoint.
    """
    reporter.plan(prepared.plan)
    together(prepared.refuse_errors)
    check_agreement(prepared)
    config = prepared.run.config
    if config.output is None:
        raise UsageError("no output folder", where="--output", fix="Add --output DIR.")
    output = config.output
    from_main(lambda: check_output(output, resume=config.resume, overwrite=config.overwrite))
    prompts = together(lambda: sample_prompts(config.sample_prompts))
    with reporter.stage("fetching weights", None):
        model_dir = first_here(lambda: model_folder(prepared.source, weights=True))
        reference = reference_model(prepared)
    start = step_to_start_from(prepared, output)
    with ExitStack() as outer:
        settle = _nothing if start or not is_main() else outer.enter_context(replaced(output))
        folder = open_run(prepared, output, model_dir, start, reference)
        try:
            with attributed(prepared.selection), stop_signals() as stop, ExitStack() as patches:
                training = _Training(prepared, folder, reporter, stop, prompts, settle, reference)
                result = training.carry_out(start, patches)
        except BaseException as error:
            reason = str(error) or type(error).__name__
            folder.mark(_state_after(error), finished=now(), error=reason)
            raise
        together(lambda: _close(folder, result))
    return result


def _nothing() -> None:
    return None


def _close(folder: RunFolder, result: RunResult) -> None:
    folder.mark("done", finished=now(), steps=result.steps, loss=result.loss)
    if is_main():
        write_report(folder)


def _state_after(error: BaseException) -> State:
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, (InterruptedRunError, KeyboardInterrupt)):
        return "interrupted"
    return "failed"


class _Training:
    """The stages of one run."""

    def __init__(
        self,
        prepared: Prepared,
        folder: RunFolder,
        reporter: Reporter,
        stop: StopSignal,
        prompts: list[str],
        settle: Callable[[], None],
        reference: ReferenceModel | None,
    ) -> None:
        self.prepared = prepared
        self.folder = folder
        self.reporter = reporter
        self.stop = stop
        self.prompts = prompts
        self.settle = settle
        self.selection = prepared.selection
        self.total = prepared.plan.steps
        self.last_loss: float | None = None
        loss = str(prepared.selection.providers["loss"])
        self.watcher = Watcher(prepared.loss, loss, folder, reporter)
        config = prepared.run.config
        self.order = Batches(
            lengths_of(prepared.examples), config.batch_size, config.seed, config.batching
        )
        seen = self.order.seen(self.total)
        self.references = References(prepared, reference, seen, reporter, stop)

    def carry_out(self, start: int, patches: ExitStack) -> RunResult:
        """Build, compare, train, save."""
        self.references.by_another_model()
        built = together(
            lambda: build_model(
                self.prepared.source,
                self.prepared.run,
                self.selection,
                self.prepared.attention,
                self.reporter,
            )
        )
        for patch in built.patches:
            patches.enter_context(patch)
        self.stop.raise_if_asked()
        self._set_up(built)
        if start:
            checkpoint = checkpoint_folder(self.folder.path, start)
            together(lambda: load_checkpoint(checkpoint, self.trained))
            self.last_loss = self.folder.last_loss()
            self.reporter.note(f"resumed after step {start}")
        else:
            self._watch(0)
        self.stop.raise_if_asked()
        self.settle()
        steps = self._train(start)
        self._watch_end(steps)
        from_main(self._save_result)
        self._tell_changes()
        return RunResult(self.folder.path, steps, self.last_loss)

    def _set_up(self, built: Built) -> None:
        """Everything with state, wrapped for the device and the ranks."""
        from anima_core.training.accelerator import make_accelerator
        from anima_core.training.callbacks import Events, training_arguments
        from anima_core.training.heads import add_head, projection_idle, start_head, trained
        from anima_core.training.loop import Loop
        from anima_core.training.module import LogpsModule
        from anima_core.training.optimizer import learning_rate_schedule, parameter_groups

        self.run = run = built.run
        token_logps = self.selection.call("token_logps", run=run)
        loss = self.prepared.loss
        groups = parameter_groups(built.adapter.trainable, run.config.weight_decay)
        adapter, head = add_head(built, loss, str(self.selection.providers["loss"]))
        groups += parameter_groups(trained(head), run.config.weight_decay)
        self.adapter = adapter
        together(lambda: start_head(head, self.prepared.source.run, adapter, self.reporter))
        optimizer = together(lambda: self.selection.call("optimizer", run=run, groups=groups))
        schedule = learning_rate_schedule(optimizer, run.config, self.total)
        arguments = training_arguments(run, self.total)
        accelerator = make_accelerator(run, some_unused=projection_idle(adapter, loss))
        module = LogpsModule(
            built.adapter.model,
            token_logps,
            loss,
            head=head,
            kernel_name=str(self.selection.providers["token_logps"]),
            loss_name=str(self.selection.providers["loss"]),
        )
        module, prepared_optimizer = accelerator.prepare(module, optimizer)
        self.trained = Trained(adapter, optimizer, schedule, loss)
        self.module = module
        self.references.by_the_policy(module, built.adapter, built.run.model_dir)
        if self.references.seconds:
            self.folder.mark("running", reference_seconds=self.references.seconds)
        self.loop = Loop(
            run=run,
            module=module,
            loss=loss,
            optimizer=prepared_optimizer,
            schedule=schedule,
            accelerator=accelerator,
            examples=self.prepared.examples,
            order=self.order,
            reference=self.references.training,
            parameters=list(adapter.trainable.values()),
        )
        callbacks = [c for _, cs in self.selection.call_stack("callbacks", run=run) for c in cs]
        self.events = together(
            lambda: Events(
                run,
                arguments,
                callbacks,
                model=built.adapter.model,
                tokenizer=self.prepared.tokenizer,
                optimizer=optimizer,
                schedule=schedule,
                total=self.total,
            )
        )

    def _train(self, start: int) -> int:
        config = self.run.config
        per_epoch = self.prepared.plan.steps_per_epoch
        self.events.begin(start)

        def after(record: dict[str, Any]) -> bool:
            step = record["step"]
            self.last_loss = record["loss"]
            self.folder.metrics(record)
            self.reporter.step(record)
            self.watcher.see(record)
            self.events.step_end(record, step / per_epoch)
            if config.eval_every and step % config.eval_every == 0 and step < self.total:
                self._watch(step)
            if config.save_every and step % config.save_every == 0:
                self._checkpoint(step)
            number = self.stop.anywhere()
            if number is not None and step < self.total:
                self._interrupted(step, number)
            return any(exchange(self.events.stop_asked)) and step < self.total

        with self.reporter.training(start, self.total):
            steps = self.loop.steps(start, self.total, before=self.events.step_begin, after=after)
        self.events.end()
        return steps

    def _checkpoint(self, step: int) -> None:
        from_main(lambda: save_checkpoint(self.folder.path, step, self.trained) and None)
        self.events.saved()
        self.reporter.note(f"checkpoint saved after step {step}")

    def _interrupted(self, step: int, number: int) -> None:
        config = self.run.config
        if not (config.save_every and step % config.save_every == 0):
            self._checkpoint(step)
        raise InterruptedRunError(
            number,
            f"interrupted after step {step} of {self.total}; a checkpoint was saved",
            where=str(self.folder.path),
            fix="Run the same command with --resume to go on.",
        )

    def _watch(self, step: int) -> None:
        """Evaluate on held-out data and answer the sample prompts."""
        if self.prepared.eval_examples:
            record = {"step": step} | evaluate(
                self.module,
                self.prepared.loss,
                self.prepared.eval_examples,
                self.references.held_out,
                device=self.run.device,
                micro_tokens=self.run.config.micro_tokens,
                batch_size=self.run.config.batch_size,
            )
            self.folder.metrics(record)
            self.reporter.evaluation(record)
            self.watcher.see(record)
            self.events.evaluated(record)
        if self.prompts:
            from_main(lambda: self._sample(step))

    def _sample(self, step: int) -> None:
        """Answer the sample prompts, past DDP's wrapper: nothing is trained here."""
        with self.reporter.stage("sample answers", None):
            rows = take_samples(
                self.adapter.model,
                self.prepared.tokenizer,
                self.prompts,
                step=step,
                max_new_tokens=self.run.config.sample_tokens,
            )
        self.folder.samples(rows)
        self.reporter.samples(rows)

    def _watch_end(self, steps: int) -> None:
        """Watch after the last step, unless a run that is resumed at its end had done so."""

        def watched() -> bool:
            rows = [*self.folder.read_samples(), *self.folder.read_metrics()]
            return any(r["step"] == steps and ("answer" in r or "eval_loss" in r) for r in rows)

        if not from_main(watched):
            self._watch(steps)

    def _tell_changes(self) -> None:
        """Say what training made of the held-out data."""
        if found := changes(self.folder.read_metrics(), self.prepared.plan.headline):
            self.reporter.note(told(found))

    def _save_result(self) -> None:
        """Write what was trained, with tokenizer and template, whole or not at all."""
        target = self.folder.path / self.adapter.folder
        if target.exists():
            shutil.rmtree(target)
        with whole_folder(target) as aside:
            self.adapter.save(aside)
            self.prepared.tokenizer.save_pretrained(aside)
