"""The core's own options as flags, and the help panel that each stands in."""

from __future__ import annotations

import inspect

from anima_core.cli import parameters
from anima_core.config.core import CoreOptions
from anima_core.config.requests import core_flag
from anima_core.registry.names import kebab

POSITIONAL = ("model", "data")
SHORT = {"output": ("-o",)}

PANELS = {
    "Output": ("output", "save_every", "resume", "overwrite"),
    "Training": (
        "epochs",
        "steps",
        "batch_size",
        "batching",
        "learning_rate",
        "schedule",
        "warmup",
        "weight_decay",
        "max_grad_norm",
        "seed",
    ),
    "Data": (
        "format",
        "columns",
        "fill",
        "template",
        "train_on",
        "max_length",
        "max_prompt_length",
        "max_answer_length",
        "overlong",
        "min_length",
        "max_examples",
        "mix",
        "skip_bad_records",
        "eval_data",
        "eval_fraction",
        "cache",
    ),
    "Precision, device and memory": (
        "dtype",
        "device",
        "micro_tokens",
        "gradient_checkpointing",
        "trust_remote_code",
    ),
    "Watching": (
        "log_every",
        "eval_every",
        "sample_prompts",
        "sample_tokens",
        "report_to",
        "debug",
    ),
}
OTHER_PANEL = "Other core options"

PLUGIN_VALUES = frozenset({"--config", "--no-plugin"})
"""Options that are read before the parser is built; each takes a value."""

AUDIT_VALUES = frozenset({"--html", "--record", "--show"})
"""Options of `anima data` that take a value; the parsers of the other commands refuse them."""


def valued() -> frozenset[str]:
    """The core's options that take a value."""
    names = {
        core_flag(name)
        for name, field in CoreOptions.model_fields.items()
        if name not in POSITIONAL and not parameters.is_flag(field)
    }
    short = {word for words in SHORT.values() for word in words}
    return frozenset(names | short | PLUGIN_VALUES | AUDIT_VALUES)


def switches() -> frozenset[str]:
    """The core's options that take none."""
    names = {"--help", "--json"}
    for name, field in CoreOptions.model_fields.items():
        if parameters.is_flag(field):
            names |= {core_flag(name), f"--no-{kebab(name)}"}
    return frozenset(names)


def core_parameters() -> list[inspect.Parameter]:
    """MODEL, DATA and every core option, in their panels' order."""
    fields = CoreOptions.model_fields
    made = [parameters.argument(name, name.upper(), fields[name]) for name in POSITIONAL]
    panels = [(name, panel) for panel, names in PANELS.items() for name in names]
    known = {name for name, _ in panels}
    panels += [(n, OTHER_PANEL) for n in fields if n not in known and n not in POSITIONAL]
    for name, panel in panels:
        names = [core_flag(name), *SHORT.get(name, ())]
        made += parameters.option(name, names, f"--no-{kebab(name)}", fields[name], panel)
    return made
