"""A run on a tiny model that is really there, folder and all, for a hook to be called with."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, PreTrainedModel

from anima_core.quiet import quiet_libraries
from anima_core.testing.context import run_context
from anima_core.testing.data import write_data
from anima_core.testing.instances import call
from anima_core.testing.models import Family, save_tiny, tiny_model

if TYPE_CHECKING:
    from anima_core.context import RunContext
    from anima_core.contracts import Attention

DATA = "data.jsonl"
"""The file of completions beside the model's folder."""


@dataclass(frozen=True)
class TinyRun:
    """A run and its model.

    Attributes:
        run: the context; ``run.model_dir`` holds config, tokenizer and safetensors.
        attention: the core's own, registered.
        make: makes the model, the same every time.
    """

    run: RunContext
    attention: Attention
    make: Callable[[], PreTrainedModel]


@contextmanager
def tiny_run(
    family: Family = "llama", load: Callable[..., PreTrainedModel] | None = None, **core: Any
) -> Iterator[TinyRun]:
    """Save a tiny model for as long as it is needed.

    Args:
        family: which model.
        load: a ``load_model`` hook, bound, that makes it; `tiny_model` does when None.
        core: core options of the run, by field name.
    """
    with tempfile.TemporaryDirectory() as name:
        yield tiny_run_in(Path(name), family, load, **core)


def tiny_run_in(
    place: Path,
    family: Family = "llama",
    load: Callable[..., PreTrainedModel] | None = None,
    **core: Any,
) -> TinyRun:
    """The same in a folder that stays, with data; what lies there already is used again.

    Args:
        place: the folder.
        family, load, core: as in `tiny_run`; also ``strategies``, as in `run_context`.
    """
    folder = place / "model"
    if not folder.exists():
        save_tiny(folder, family)
        write_data(place / DATA, "completion")
    run = run_context(
        **{"model": str(folder), **core},
        model_dir=folder,
        model_config=AutoConfig.from_pretrained(folder),
        run_dir=place / "run",
    )
    attention = core_attention(run)

    def make() -> PreTrainedModel:
        if load is None:
            return tiny_model(family)
        with quiet_libraries():
            model = call(load, run=run, config=run.model_config, attention=attention)
        assert isinstance(model, PreTrainedModel), f"load_model returned {model!r}"
        return model

    return TinyRun(run, attention, make)


def arguments_for(hook: str, tiny: TinyRun) -> dict[str, object]:
    """Everything that a hook is offered."""
    return {"run": tiny.run, **(_ARGUMENTS[hook](tiny) if hook in _ARGUMENTS else {})}


def _data(tiny: TinyRun) -> dict[str, object]:
    return {"sources": [str(tiny.run.model_dir.parent / DATA)]}


def _groups(_tiny: TinyRun) -> dict[str, object]:
    parameter = torch.nn.Parameter(torch.ones(4, 4))
    return {"groups": [{"params": [parameter], "weight_decay": 0.0}]}


def _shape(tiny: TinyRun) -> dict[str, object]:
    from anima_core.runs.memory import memory_shape

    return {"shape": memory_shape(tiny.run)}


_ARGUMENTS: Mapping[str, Callable[[TinyRun], dict[str, object]]] = {
    "configure_model": lambda tiny: {"config": copy.deepcopy(tiny.run.model_config)},
    "load_model": lambda tiny: {
        "config": copy.deepcopy(tiny.run.model_config),
        "attention": tiny.attention,
    },
    "adapt_model": lambda tiny: {"model": tiny.make()},
    "patch_model": lambda tiny: {"model": tiny.make()},
    "read_data": _data,
    "optimizer": _groups,
    "estimate_memory": _shape,
}


def core_attention(run: RunContext) -> Attention:
    """What the core's own attention answers for a run."""
    from anima_core.attention.sdpa import Sdpa
    from anima_core.strategy import NoOptions

    attention: Attention = Sdpa(NoOptions()).attention(run)
    return attention
