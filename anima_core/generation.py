"""`anima generate`: one answer from a model or a run."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from anima_core.config.core import CoreOptions
from anima_core.config.requests import core_options
from anima_core.context import RunContext
from anima_core.errors import UsageError
from anima_core.model.config import configured, read_config
from anima_core.model.dtype import choose_device, choose_precision
from anima_core.model.folder import model_folder
from anima_core.model.resolve import resolve_model
from anima_core.registry.attribution import attributed
from anima_core.registry.selection import Selection, select
from anima_core.runs.inherit import model_strategies
from anima_core.runs.reporter import SilentReporter
from anima_core.runs.request import RunRequest
from anima_core.training.build import build_model

if TYPE_CHECKING:
    from anima_core.model.resolve import ModelSource


def generate(
    target: str,
    prompt: str,
    *,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    seed: int = 42,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> str:
    """Answer a prompt.

    Args:
        target: a model, as `anima train` takes it, or a run directory, which brings its own
            tokenizer, template, adapter, quantisation and RoPE scaling.
        prompt: the user's words.
        max_new_tokens: longest answer, in tokens.
        temperature: 0 for the most likely tokens, else a sample.
        seed: of the sample.
        device, dtype: as in `anima train`.
        trust_remote_code: let code that comes with the model run.

    Raises:
        UsageError: there is no such model or run, or an option is out of range.
    """
    if max_new_tokens < 1 or temperature < 0:
        raise UsageError(
            "an answer needs at least one token and a temperature of 0 or more",
            where="--max-new-tokens, --temperature",
        )
    config = core_options(
        RunRequest(
            core={
                "model": target,
                "seed": seed,
                "device": device,
                "dtype": dtype,
                "trust_remote_code": trust_remote_code,
            }
        )
    )
    source = resolve_model(target)
    _refuse_scorer(source)
    strategies = model_strategies(source.manifest) if source.run is not None else {}
    selection = select(strategies)
    run = _context(source, selection, config)
    from anima_core.answer import answers
    from anima_core.training.seeding import seed_step

    tokenizer = selection.call("load_tokenizer", run=tokenizer_context(source, run))
    attention = selection.call("attention", run=run)
    built = build_model(source, run, selection, attention, SilentReporter())
    with attributed(selection), ExitStack() as stack:
        for patch in built.patches:
            stack.enter_context(patch)
        seed_step(seed, 0, 0)
        return answers(
            built.adapter.model,
            tokenizer,
            [prompt],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
        )[0]


def _refuse_scorer(source: ModelSource) -> None:
    """A run whose loss trained a head of its own taught no answers."""
    from anima_core.training.heads import head_of_run

    file = head_of_run(source.run) if source.run is not None else None
    if file is not None:
        raise UsageError(
            f"the run {source.given} learnt to judge text by a head of its own ({file}), and not "
            "to write it",
            where="MODEL",
            fix="Load it in transformers to score answers, as the page of its loss shows, or name "
            "another run.",
        )


def tokenizer_context(source: ModelSource, run: RunContext) -> RunContext:
    """The context to load a tokenizer in: a run brings its own, beside what it trained."""
    if source.run is not None:
        for name in ("adapter", "model"):
            if (source.run / name / "tokenizer_config.json").is_file():
                return replace(run, model_dir=source.run / name)
    return run


def _context(source: ModelSource, selection: Selection, config: CoreOptions) -> RunContext:
    device = choose_device(config.device)
    precision = choose_precision(config.dtype, device)
    folder = model_folder(source, weights=False)
    run = RunContext(
        config=config,
        strategies=selection.strategies,
        model_dir=folder,
        model_config=read_config(folder, config),
        device=device,
        dtype=precision.dtype,
        weights_dtype=precision.dtype,
    )
    return configured(run, selection)
