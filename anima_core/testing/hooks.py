"""Checks of every hook that a strategy implements: what it answers, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast
from unittest import SkipTest

import torch

from anima_core.contracts import Head
from anima_core.errors import AnimaError, DataError, SetupError
from anima_core.hookspecs import HOOKS
from anima_core.loss.collision import call_loss
from anima_core.quiet import quiet_libraries
from anima_core.registry.answers import check_answer, check_record
from anima_core.registry.globals import watched
from anima_core.registry.load import implemented
from anima_core.testing.data import batch_of, random_examples
from anima_core.testing.instances import call, refuse
from anima_core.testing.losses import draw_collision, draw_logps, draw_reference, prepared
from anima_core.testing.tiny_runs import TinyRun, arguments_for, tiny_run

if TYPE_CHECKING:
    from anima_core.contracts import Loss

_ORDER = ("validate", *(hook for hook in HOOKS if hook != "validate"))
"""What a strategy refuses beforehand is known before its other hooks are called."""

Called = tuple[str, object, list[str]]


def check_answers(strategy: Any) -> None:
    """Each hook answers what its specification asks for.

    Every hook that the strategy implements is called once, on a tiny model that is really there.

    Args:
        strategy: an instance.

    Raises:
        AssertionError: a hook answers something else, or raises.
        unittest.SkipTest: the strategy refuses the tiny model or this machine by its `validate`,
            or lacks a package.
    """
    for hook, answer, _ in _called(strategy):
        wrong = check_answer(hook, answer)
        assert not wrong, f"its hook `{hook}` {wrong}"
        if hook == "read_data":
            for record in cast("list[object]", answer):
                wrong = check_record(record)
                assert not wrong, f"its hook `{hook}` {wrong}"


def check_globals(strategy: Any) -> None:
    """No hook replaces anything that other models share.

    Every hook that the strategy implements is called, and what it answers is used once (a patch
    is entered, an optimizer steps, a loss and a kernel compute). Watched are the functions and
    classes of torch, ``torch.nn`` and transformers; what was replaced is put back.

    Args:
        strategy: an instance.

    Raises:
        AssertionError: naming the hook and what it replaced.
        unittest.SkipTest: as for `check_answers`.
    """
    for hook, _, replaced in _called(strategy):
        assert not replaced, (
            f"its hook `{hook}` replaced {', '.join(replaced)}: a strategy changes the model that "
            "it is given and nothing else"
        )


def _called(strategy: Any) -> Iterator[Called]:
    """Each implemented hook, its answer, and what it replaced."""
    own = implemented(type(strategy))
    load = strategy.load_model if "load_model" in own else None
    with tiny_run(load=load) as tiny:
        for hook in sorted(own, key=_ORDER.index):
            with watched() as replaced:
                answer = _answer(strategy, hook, tiny)
            yield hook, answer, replaced
            if hook == "validate":
                refuse(answer)


def _answer(strategy: Any, hook: str, tiny: TinyRun) -> object:
    """Call a hook, and use what it answers."""
    arguments = arguments_for(hook, tiny)
    method = getattr(strategy, hook)
    try:
        with quiet_libraries():
            answer: Any = call(method, **arguments)
            if hook == "read_data" and not check_answer(hook, answer):
                return list(answer)
            if hook in _USES and not check_answer(hook, answer):
                _USES[hook](answer)
    except SetupError as error:
        raise SkipTest(f"something is missing: {error}") from error
    except DataError as error:
        if hook == "read_data":
            raise SkipTest(f"it reads no jsonl: {error}") from error
        raise AssertionError(f"its hook `{hook}` failed: {error}") from error
    except AnimaError as error:
        raise AssertionError(f"its hook `{hook}` failed: {error}") from error
    return answer


def _enter(patch: AbstractContextManager[None]) -> None:
    """Enter and leave a patch, with a watch of its own: it would put back what it replaced."""
    with watched() as replaced:
        patch.__enter__()
    patch.__exit__(None, None, None)
    assert not replaced, (
        f"its patch replaces {', '.join(replaced)} while it is entered: a strategy changes the "
        "model that it is given and nothing else"
    )


def _step(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def _score(loss: Loss) -> None:
    batch = batch_of(random_examples(loss.data, 3))
    fresh = prepared(loss, batch)
    reference = draw_reference(loss, batch)
    fresh.denominators(batch)
    logps = draw_logps(loss, batch)
    call_loss(fresh, batch, logps, reference, draw_collision(loss, logps))


def _compute(kernel: Callable[..., torch.Tensor]) -> None:
    hidden = torch.ones(3, 8, requires_grad=True)
    kernel(hidden, Head(torch.ones(16, 8)), torch.tensor([0, 1, 2])).sum().backward()


_USES: dict[str, Callable[[Any], None]] = {
    "patch_model": _enter,
    "optimizer": _step,
    "loss": _score,
    "token_logps": _compute,
}
