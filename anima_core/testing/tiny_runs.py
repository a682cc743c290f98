"""A run on a tiny model that is really there, folder and all, for a hook to be called with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, PreTrainedModel

from anima_core.quiet import quiet_libraries
from anima_core.testing.context import run_context
from anima_core.testing.instances import call
from anima_core.testing.models import Family, save_tiny, tiny_model

if TYPE_CHECKING:
    from anima_core.context import RunContext
    from anima_core.contracts import Attention


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
        folder = save_tiny(Path(name) / "model", family)
        config = AutoConfig.from_pretrained(folder)
        run = run_context(
            **{"model": str(folder), **core},
            model_dir=folder,
            model_config=config,
            run_dir=Path(name) / "run",
        )
        attention = core_attention(run)

        def make() -> PreTrainedModel:
            if load is None:
                return tiny_model(family)
            with quiet_libraries():
                model = call(load, run=run, config=run.model_config, attention=attention)
            assert isinstance(model, PreTrainedModel), f"load_model returned {model!r}"
            return model

        yield TinyRun(run, attention, make)


def core_attention(run: RunContext) -> Attention:
    """What the core's own attention answers for a run."""
    from anima_core.attention.sdpa import Sdpa
    from anima_core.strategy import NoOptions

    attention: Attention = Sdpa(NoOptions()).attention(run)
    return attention
