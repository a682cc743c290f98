"""From a request to a plan: everything that can be known, and refused, without a weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from anima_core.config.core import CoreOptions
from anima_core.context import RunContext
from anima_core.data.batching import steps_per_epoch
from anima_core.model.config import configured, read_config
from anima_core.model.dtype import Precision, choose_device, choose_precision
from anima_core.model.folder import model_folder
from anima_core.model.resolve import ModelSource
from anima_core.problems import Problem
from anima_core.quiet import quiet_libraries
from anima_core.registry.attribution import attributed
from anima_core.registry.selection import Selection
from anima_core.runs.capabilities import (
    capability_problems,
    kernel_problems,
)
from anima_core.runs.chosen import chosen
from anima_core.runs.folder import check_not_used, check_output
from anima_core.runs.loading import DataLoader, Loaded, attempt
from anima_core.runs.memory import estimate_memory, reference_bytes
from anima_core.runs.plan import DataSummary, Plan, SlotLine
from anima_core.runs.prepared import Prepared
from anima_core.runs.prompts import sample_prompts
from anima_core.runs.reference import reference_problems
from anima_core.runs.reporter import Reporter
from anima_core.runs.request import RunRequest
from anima_core.training.callbacks import make_trackers
from anima_core.training.ranks import device_of_rank, rank_and_world
from anima_core.training.talk import exchange, join, together

if TYPE_CHECKING:
    from anima_core.contracts import Loss


T = TypeVar("T")


def prepare(request: RunRequest, *, reporter: Reporter) -> Prepared:
    """Resolve a request and make its plan. Called by every process of a run.

    What cannot even be parsed is raised; every other problem is collected in the plan, so that
    all of them are seen at once.

    Raises:
        UsageError: an unknown option or strategy, two strategies for one slot, no such model.
        SetupError: a selected plugin does not import.
    """

    def made() -> Prepared:
        found = chosen(request)
        with attributed(found.selection):
            return _Preparation(request, *found, reporter).prepared()

    join()
    return _with_problems_of_others(together(made))


def _with_problems_of_others(prepared: Prepared) -> Prepared:
    """The same, refused as well when another process of the run refuses its own."""
    problems = exchange([asdict(problem) for problem in prepared.plan.errors])
    if prepared.plan.errors or not any(problems):
        return prepared
    others = [
        Problem(**{**problem, "what": f"in process {rank}: {problem['what']}"})
        for rank, found in enumerate(problems)
        for problem in found
    ]
    plan = replace(prepared.plan, problems=(*prepared.plan.problems, *others))
    return replace(prepared, plan=plan)


class _Preparation:
    """The steps of `prepare`, which share what was found so far and the list of problems."""

    def __init__(
        self,
        request: RunRequest,
        config: CoreOptions,
        source: ModelSource,
        selection: Selection,
        reporter: Reporter,
    ) -> None:
        self.request = request
        self.source = source
        self.selection = selection
        self.reporter = reporter
        self.problems = [Problem("--config", note, level="note") for note in request.notes]
        self.notes: dict[str, str] = {}
        self.rate_reason = "asked for"
        self.headline: tuple[str, ...] = ()
        self.config = self._with_learning_rate(config)

    def prepared(self) -> Prepared:
        """Run every step and gather the plan."""
        self._try(self._check_output)
        device = self._try(lambda: choose_device(device_of_rank(self.config.device))) or "cpu"
        precision = choose_precision(self.config.dtype, device)
        if precision.emulated:
            self.problems.append(
                Problem("--dtype", precision.reason, "Say --dtype auto.", level="warning")
            )
        run = self._context(device, precision)
        attention = self._try(lambda: self.selection.call("attention", run=run))
        loss = self._try(lambda: self.selection.call("loss", run=run))
        self.headline = tuple(getattr(loss, "headline", ()))
        if attention is not None and loss is not None:
            self.notes["attention"] = attention.note
            self.problems += capability_problems(run, attention, loss)
        if loss is not None:
            self.problems += kernel_problems(self.selection, loss)
        tokenizer = self._try(lambda: self.selection.call("load_tokenizer", run=run))
        trained, held_out = Loaded(), Loaded()
        if tokenizer is not None:
            loader = DataLoader(run, self.selection, tokenizer, loss, self.reporter, self.problems)
            trained, held_out = loader.both()
        data, eval_data = trained.summary, held_out.summary
        if loss is not None:
            self._look_at_reference(run, loss, (data, eval_data))
        return Prepared(
            self.request,
            self.source,
            self.selection,
            run,
            self._plan(run, precision, data, eval_data, loss),
            tokenizer,
            attention,
            loss,
            trained.examples,
            held_out.examples,
        )

    def _look_at_reference(
        self, run: RunContext, loss: Loss, data: Sequence[DataSummary | None]
    ) -> None:
        """Where the loss names another model as its reference: whether it can be that."""
        name = getattr(loss, "reference_model", None)
        if name is not None:
            self.problems += reference_problems(run, self.selection, loss, data)
            self.notes["loss"] = f"reference: {name}"

    def _check_output(self) -> None:
        config = self.config
        if config.output is not None:
            check_output(config.output, resume=config.resume, overwrite=config.overwrite)
        if config.output is not None and config.overwrite:
            named = [Path(name) for name in (*config.data, *config.eval_data)]
            used = [self.source.run, self.source.path, *named]
            check_not_used(config.output, [path for path in used if path is not None])
        prompts = sample_prompts(config.sample_prompts)
        make_trackers(config.report_to)
        self._warn_of_idle_options(
            watches=bool(prompts or config.eval_data or config.eval_fraction)
        )

    def _warn_of_idle_options(self, *, watches: bool) -> None:
        """Say which options that were given do nothing in this run."""
        given, idle = self.request.core, []
        if given.get("eval_every") is not None and not watches:
            idle.append(("--eval-every", "Add --eval-data, --eval-fraction or --sample-prompts."))
        if given.get("sample_tokens") is not None and not given.get("sample_prompts"):
            idle.append(("--sample-tokens", "Add --sample-prompts."))
        self.problems += [
            Problem(flag, "it does nothing in this run", fix, level="warning") for flag, fix in idle
        ]

    def _try(self, step: Callable[[], T]) -> T | None:
        """Run a step; what a user can mend becomes a problem of the plan."""
        return attempt(self.problems, step)

    def _with_learning_rate(self, config: CoreOptions) -> CoreOptions:
        if config.learning_rate is not None:
            return config
        loss, adapt = (self.selection.providers[s].strategy for s in ("loss", "adapt_model"))
        base = float(self.selection.cls_attribute("loss", "learning_rate", 2e-5))
        scale = float(self.selection.cls_attribute("adapt_model", "learning_rate_scale", 1.0))
        self.rate_reason = f"{loss} {base:g} x {adapt} {scale:g}"
        return config.model_copy(update={"learning_rate": base * scale})

    def _context(self, device: str, precision: Precision) -> RunContext:
        """The context, after `validate` saw the model's config and `configure_model` changed it."""
        folder = model_folder(self.source, weights=False)
        model_config = read_config(folder, self.config)
        trains_base = bool(self.selection.cls_attribute("adapt_model", "trains_base", False))
        rank, world = rank_and_world()
        run = RunContext(
            config=self.config,
            strategies=self.selection.strategies,
            model_dir=folder,
            model_config=model_config,
            device=device,
            dtype=precision.dtype,
            weights_dtype="float32" if trains_base else precision.dtype,
            run_dir=self.config.output,
            rank=rank,
            world=world,
        )
        with quiet_libraries():
            for _provider, found in self.selection.call_stack("validate", run=run):
                self.problems += found
        if trains_base and self.selection.cls_attribute("load_model", "loads_quantized", False):
            names = [self.selection.providers[s].strategy for s in ("load_model", "adapt_model")]
            self.problems.append(
                Problem(
                    f"--{names[0]}",
                    f"its quantised weights cannot be trained by {names[1]}",
                    "Add --lora.",
                )
            )
        if any(p.level == "error" for p in self.problems):
            return run
        return configured(run, self.selection)

    def _plan(
        self,
        run: RunContext,
        precision: Precision,
        data: DataSummary | None,
        eval_data: DataSummary | None,
        loss: Loss | None,
    ) -> Plan:
        config = run.config
        per_epoch = steps_per_epoch(data.examples, config.batch_size) if data else 0
        steps = config.steps or max(1, round(per_epoch * config.epochs))
        memory = self._try(lambda: estimate_memory(run, self.selection, loss))
        reference = self._try(lambda: reference_bytes(run, self.selection, loss))
        return Plan(
            model=f"{self.source.given} ({run.model_config.model_type}, "
            f"{self.source.base if self.source.run else self.source.kind})",
            slots=tuple(self._slot_lines()),
            data=data,
            eval_data=eval_data,
            device=run.device,
            dtype=run.dtype,
            dtype_reason=precision.reason,
            steps=steps,
            steps_per_epoch=per_epoch,
            learning_rate=config.learning_rate or 0.0,
            learning_rate_reason=self.rate_reason,
            memory=memory or {},
            problems=tuple(self.problems),
            headline=self.headline,
            reference_memory=reference or 0,
        )

    def _slot_lines(self) -> list[SlotLine]:
        lines = [
            SlotLine(
                slot, p.strategy, p.distribution, p.version, self.notes.get(slot, ""), p.default
            )
            for slot, p in self.selection.providers.items()
        ]
        for hook in ("configure_model", "patch_model", "callbacks"):
            lines += [
                SlotLine(hook, p.strategy, p.distribution, p.version, default=p.default)
                for p in self.selection.stack(hook)
            ]
        return lines
