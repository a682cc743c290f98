"""For each hook, the check that a strategy that implements it is put to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import SkipTest

from anima_core.errors import AnimaError, SetupError
from anima_core.strategy import GIVES

EVERY = ("llama", "qwen2", "qwen3", "mistral", "gemma2", "gpt2")
"""Every family of `anima_core.testing.models`, which imports torch."""


@contextmanager
def _fitting(family: str = "llama") -> Iterator[None]:
    """What does not fit is skipped: a package that is missing, a family that is refused.

    Llama is every check's own family, and must not be refused by anything but `validate`.
    """
    try:
        yield
    except SetupError as error:
        raise SkipTest(f"something is missing: {error}") from error
    except AnimaError as error:
        if family == "llama":
            raise AssertionError(f"it failed: {error}") from error
        raise SkipTest(f"it refuses {family}: {error}") from error


def _asked(strategy: Any, family: Any = "llama", **core: Any) -> Any:
    """A run to call a hook with, unless the strategy refuses it."""
    from anima_core.testing.context import run_context
    from anima_core.testing.instances import refuse_if_it_does
    from anima_core.testing.models import tiny_config

    run = run_context(model_config=tiny_config(family), **core)
    refuse_if_it_does(strategy, run)
    return run


def _load_tokenizer(strategy: Any) -> None:
    from anima_core.testing.tokenizing import check_tokenizer

    _asked(strategy)
    with _fitting():
        check_tokenizer(strategy.load_tokenizer)


def _configure_model(strategy: Any, family: Any) -> None:
    from anima_core.testing.configs import check_configure

    _asked(strategy, family)
    with _fitting(family):
        check_configure(strategy.configure_model, family=family)


def _attention(strategy: Any, family: Any) -> None:
    from anima_core.testing.data import random_examples
    from anima_core.testing.instances import call
    from anima_core.testing.models import tiny_model
    from anima_core.testing.segments import check_segment_isolation

    run = _asked(strategy, family)
    with _fitting(family):
        attention = call(strategy.attention, run=run)
        lacking = [
            name
            for name, needed in (
                ("softcap", getattr(run.model_config, "attn_logit_softcapping", None)),
                ("sliding_window", getattr(run.model_config, "sliding_window", None)),
            )
            if needed and not getattr(attention, name)
        ]
        if lacking:
            raise SkipTest(f"it says that it has no {lacking[0]}, which {family} needs")
        assert attention.segments, "it says that it cannot keep segments apart: no run can use it"
        examples = random_examples("completion", 4, seed=1)
        if attention.shared_prefix:
            examples += random_examples("preference", 3, seed=2)
        check_segment_isolation(tiny_model(family, attn_implementation=attention.name), examples)


def _load_model(strategy: Any, family: Any) -> None:
    from anima_core.testing.loaders import check_loader

    _asked(strategy, family)
    quantised = bool(getattr(type(strategy), "loads_quantized", False))
    with _fitting(family):
        check_loader(strategy.load_model, family=family, quantised=quantised)


def _adapt_model(strategy: Any, family: Any) -> None:
    from anima_core.testing.adapters import check_adapter

    _asked(strategy, family)
    load = getattr(strategy, "load_model", None)
    with _fitting(family):
        check_adapter(strategy.adapt_model, family=family, load=load)


def _patch_model(strategy: Any, family: Any) -> None:
    from anima_core.testing.patches import check_patch

    _asked(strategy, family)
    with _fitting(family):
        check_patch(strategy.patch_model, family=family)


def _read_data(strategy: Any, sources: Sequence[str] | None) -> None:
    from anima_core.testing.readers import check_reader

    _asked(strategy)
    with _fitting():
        check_reader(strategy.read_data, sources)


def _token_logps(strategy: Any) -> None:
    import torch

    from anima_core.testing.instances import call
    from anima_core.testing.kernels import check_token_logps

    run = _asked(strategy)
    several = "topk" in getattr(type(strategy), "gives", GIVES)
    with _fitting():
        kernel = call(strategy.token_logps, run=run)
        for dtype in (torch.float32, torch.bfloat16):
            check_token_logps(kernel, dtype=dtype, several=several)


def _loss(strategy: Any) -> None:
    from anima_core.testing.instances import call
    from anima_core.testing.whole_losses import check_loss

    run = _asked(strategy)
    with _fitting():
        check_loss(call(strategy.loss, run=run))


def _optimizer(strategy: Any) -> None:
    from anima_core.testing.instances import call
    from anima_core.testing.optimizers import check_optimizer

    run = _asked(strategy, learning_rate=1e-2)
    with _fitting():
        check_optimizer(lambda groups: call(strategy.optimizer, run=run, groups=groups))


BY_HOOK: Mapping[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "load_tokenizer": (_load_tokenizer, ()),
    "configure_model": (_configure_model, ("llama", "mistral")),
    "attention": (_attention, EVERY),
    "load_model": (_load_model, ("llama", "qwen3", "gpt2")),
    "adapt_model": (_adapt_model, ("llama", "qwen3", "gpt2")),
    "patch_model": (_patch_model, ("llama", "qwen3")),
    "read_data": (_read_data, ()),
    "token_logps": (_token_logps, ()),
    "loss": (_loss, ()),
    "optimizer": (_optimizer, ()),
}
"""The check of each hook's answer, and the families of models to make it on, where it matters."""
