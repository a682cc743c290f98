"""Every check that fits a strategy, by the hooks that it implements.

In a plugin's tests, the whole conformance kit is one test::

    import pytest
    from anima_core.testing import checks_for
    from anima_focal.strategy import Focal

    @pytest.mark.parametrize("check", checks_for(Focal, "focal"), ids=str)
    def test_conformance(check):
        if check.skip:
            pytest.skip(check.skip)
        check()

Making the list loads no torch; each check imports what it needs when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from anima_core.testing.instances import build, missing_options, refuse_if_it_does

if TYPE_CHECKING:
    from anima_core.strategy import Options


@dataclass(frozen=True)
class Check:
    """One check of one strategy.

    Calling it raises `AssertionError` with what was wrong, and `unittest.SkipTest` (which pytest
    and unittest both report as skipped) where it turns out not to fit.

    Attributes:
        name: what is checked; also what ``str()`` gives.
        run: the check.
        skip: why it cannot be made at all; empty when it can.
    """

    name: str
    run: Callable[[], None]
    skip: str = ""

    def __call__(self) -> None:
        """Make the check."""
        if self.skip:
            raise SkipTest(self.skip)
        self.run()

    def __str__(self) -> str:
        return self.name


def checks_for(cls: type, name: str, options: Options | None = None) -> list[Check]:
    """The checks that fit a strategy.

    Args:
        cls: the strategy's class.
        name: the strategy's name.
        options: what it is built with; its defaults when None. Without defaults, the checks that
            need an instance are skipped, and say so.
    """
    from anima_core.registry.load import implemented

    del name
    reason = missing_options(cls, options)
    checks = list(_of_the_class(cls))
    for hook in sorted(implemented(cls)):
        for what, run in _of_a_hook(hook, cls, options):
            checks.append(Check(what, run, reason))
    return checks


def _of_the_class(cls: type) -> Iterator[Check]:
    """What any strategy is put to, built or not."""

    def strategy() -> None:
        from anima_core.testing.strategies import check_strategy

        check_strategy(cls)

    def budget() -> None:
        from anima_core.testing.budget import check_import_budget

        check_import_budget(cls.__module__)

    yield Check("strategy", strategy)
    yield Check("import-budget", budget)


def _of_a_hook(
    hook: str, cls: Any, options: Options | None
) -> Iterator[tuple[str, Callable[[], None]]]:
    """What a hook's answer is put to."""
    if hook == "token_logps":
        yield "token_logps", lambda: _token_logps(build(cls, options))
    if hook == "loss":
        yield "loss", lambda: _loss(build(cls, options))
    if hook == "optimizer":
        yield "optimizer", lambda: _optimizer(build(cls, options))
    if hook == "attention":
        for family in ("llama", "qwen2", "qwen3", "mistral", "gemma2", "gpt2"):
            yield f"attention[{family}]", partial(_attention_of, cls, options, family)


def _token_logps(strategy: Any) -> None:
    import torch

    from anima_core.testing.context import run_context
    from anima_core.testing.kernels import check_token_logps

    refuse_if_it_does(strategy, run_context())
    kernel = strategy.token_logps(run_context())
    check_token_logps(kernel)
    check_token_logps(kernel, dtype=torch.bfloat16)


def _loss(strategy: Any) -> None:
    from anima_core.testing.context import run_context
    from anima_core.testing.data import batch_of, random_examples
    from anima_core.testing.losses import check_gradient, check_micro_batch_invariance

    refuse_if_it_does(strategy, run_context())
    loss = strategy.loss(run_context())
    examples = random_examples(loss.data, 7, seed=3, weighted=True)
    check_gradient(loss, batch_of(examples))
    if loss.scope == "example":
        check_micro_batch_invariance(loss, examples)


def _optimizer(strategy: Any) -> None:
    from anima_core.testing.context import run_context
    from anima_core.testing.optimizers import check_optimizer

    run = run_context(learning_rate=1e-2)
    refuse_if_it_does(strategy, run)
    check_optimizer(lambda groups: strategy.optimizer(run, groups))


def _attention_of(cls: Any, options: Options | None, family: Any) -> None:
    from anima_core.testing.context import run_context
    from anima_core.testing.data import random_examples
    from anima_core.testing.models import tiny_config, tiny_model
    from anima_core.testing.segments import check_segment_isolation

    strategy = build(cls, options)
    config = tiny_config(family)
    run = run_context(model_config=config)
    refuse_if_it_does(strategy, run)
    attention = strategy.attention(run)
    if getattr(config, "attn_logit_softcapping", None) and not attention.softcap:
        raise SkipTest("it says that it has no soft-cap")
    if getattr(config, "sliding_window", None) and not attention.sliding_window:
        raise SkipTest("it says that it has no sliding window")
    examples = random_examples("completion", 4, seed=1)
    if attention.shared_prefix:
        examples += random_examples("preference", 3, seed=2)
    check_segment_isolation(tiny_model(family, attn_implementation=attention.name), examples)
