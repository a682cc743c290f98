"""Check of a patch: that it keeps to one model, and is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import torch

from anima_core.registry.globals import watched
from anima_core.testing.compare import error, gradients
from anima_core.testing.instances import call
from anima_core.testing.snapshots import Snapshot

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from anima_core.testing.models import Family

Answers = tuple[torch.Tensor, dict[str, torch.Tensor]]


class _Planned(Exception):  # noqa: N818 - no error: it is thrown through the patch on purpose
    """Thrown inside a patch, to see it undone all the same."""


def check_patch(
    patch: Callable[..., AbstractContextManager[None]],
    *,
    family: Family = "llama",
    exact: bool = False,
    tolerance: float = 1e-5,
) -> None:
    """A patch changes one model instance, for as long as it is entered, and nothing else.

    1. Inside, the model still answers, finitely, and gradients reach every parameter that they
       reached before. With `exact`, answers and gradients are those of the unpatched model.
    2. Inside, another instance of the same class answers as before, to the bit, and none of the
       classes' attributes is another.
    3. After it, also after an exception, which it must not swallow: modules, their classes,
       attributes and hooks, parameters, buffers, answers and gradients are as they were.

    Args:
        patch: the hook, bound: ``strategy.patch_model``.
        family: which model.
        exact: whether the patch promises to change neither answers nor gradients (tiling,
            offloading), rather than to change them (noise).
        tolerance: how far these may be off under `exact`, relative to the largest entry of each.

    Raises:
        AssertionError: saying what is not so.
    """
    from anima_core.testing.tiny_runs import tiny_run

    with tiny_run(family) as tiny:
        model, other = tiny.make(), tiny.make()
        _check(
            lambda: call(patch, run=tiny.run, model=model),
            model,
            other,
            tolerance if exact else None,
        )


def _check(
    patch: Callable[[], object],
    model: PreTrainedModel,
    other: PreTrainedModel,
    tolerance: float | None,
) -> None:
    before, twin = Snapshot(model), Snapshot(other)
    answers = _answers(model)
    with _watched(_context(patch())):
        _check_inside(_answers(model), answers, tolerance)
        _nothing(list(twin.differences(other)), "while one model is patched, of another")
        _same(_answers(other), answers, 0.0, "while one model is patched, another")
    _nothing(list(before.differences(model)), "after the patch")
    _same(_answers(model), answers, 0.0, "after the patch, the model")

    _fail_inside(_context(patch()))
    _nothing(list(before.differences(model)), "after an exception inside the patch")


@contextmanager
def _watched(context: AbstractContextManager[None]) -> Iterator[None]:
    """Enter a patch, and find what it replaces that other models share."""
    with watched() as replaced:
        context.__enter__()
    try:
        yield
    finally:
        context.__exit__(None, None, None)
        assert not replaced, f"the patch replaces {', '.join(replaced)}, which other models share"


def _context(returned: object) -> AbstractContextManager[None]:
    assert isinstance(returned, AbstractContextManager), (
        f"patch_model returned {returned!r}, which is no context manager"
    )
    return returned


def _answers(model: PreTrainedModel) -> Answers:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return gradients(model)


def _check_inside(got: Answers, before: Answers, tolerance: float | None) -> None:
    assert bool(got[0].isfinite().all()), "the patched model's logits are not finite"
    lost = sorted(before[1].keys() - got[1].keys())
    assert not lost, f"inside the patch, no gradient reaches {', '.join(lost[:3])}"
    for name, gradient in got[1].items():
        assert bool(gradient.isfinite().all()), f"the patched gradient of {name} is not finite"
    if tolerance is not None:
        _same(got, before, tolerance, "the patched model")


def _same(got: Answers, before: Answers, tolerance: float, who: str) -> None:
    off = error(got[0], before[0])
    assert off <= tolerance, f"{who} has other logits: relative error {off:.3g}"
    assert got[1].keys() == before[1].keys(), f"{who} has gradients for other parameters"
    for name, gradient in before[1].items():
        off = error(got[1][name], gradient)
        assert off <= tolerance, f"{who} has another gradient of {name}: relative error {off:.3g}"


def _nothing(found: list[str], when: str) -> None:
    assert not found, f"{when}, " + "; ".join(found[:3])


def _fail_inside(context: AbstractContextManager[None]) -> None:
    try:
        with context:
            _throw()
    except _Planned:
        return
    raise AssertionError("the patch swallowed an exception that was raised inside it")


def _throw() -> None:
    raise _Planned
