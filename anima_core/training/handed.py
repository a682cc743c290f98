"""Whether a kernel and a loss handed over what their contracts say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from anima_core.contracts import LossOutput
from anima_core.errors import SetupError
from anima_core.registry.blame import replaced
from anima_core.registry.globals import watched

if TYPE_CHECKING:
    from anima_core.contracts import Head


def check_wanted(wanted: object, count: int, vocab: int | None, name: str) -> None:
    """Check a loss's `wanted`.

    Args:
        wanted: what it returned.
        count: S, the batch's targets.
        vocab: V, when the ids themselves are to be looked at (which waits for the device).
        name: the loss's strategy.

    Raises:
        SetupError: it is not ``[S, K]`` int64 with K >= 1, or has an id outside of 0 … V-1.
    """
    if not (
        isinstance(wanted, torch.Tensor)
        and wanted.ndim == 2
        and wanted.shape[0] == count
        and wanted.shape[1]
        and wanted.dtype == torch.int64
    ):
        raise _wrong(name, f"`wanted` returned {_words(wanted)}, not [{count}, K] int64")
    if vocab is None or not wanted.numel():
        return
    _check_range(wanted, vocab, "`wanted`", "the model's head", name)


def check_places(places: object, tokens: int, name: str, *, look: bool) -> None:
    """Check a loss's `places`.

    Args:
        places: what it returned.
        tokens: N, the batch's tokens.
        name: the loss's strategy.
        look: whether the indices themselves are to be looked at (which waits for the device).

    Raises:
        SetupError: it is not ``[M]`` int64, or its indices do not ascend, each once, within
            0 … N-1.
    """
    if not (isinstance(places, torch.Tensor) and places.ndim == 1 and places.dtype == torch.int64):
        raise _wrong(name, f"`places` returned {_words(places)}, not [M] int64")
    if not look or not places.numel():
        return
    _check_range(places, tokens, "`places`", "the batch", name)
    if bool((places.diff() <= 0).any()):
        raise _wrong(name, "`places` are not ascending, each token once")


def _check_range(indices: torch.Tensor, size: int, method: str, of: str, name: str) -> None:
    """Refuse token numbers outside of 0 … size-1; at least one is given."""
    low, high = (int(bound) for bound in torch.aminmax(indices))
    if low < 0 or high >= size:
        what = f"{method} asked for token {low if low < 0 else high}, and {of} has {size}: "
        raise _wrong(name, f"{what}0 to {size - 1}")


def check_head(head: object, name: str) -> None:
    """Check what a loss's `head` returned.

    Raises:
        SetupError: it is no module, or has nothing to train.
    """
    if not isinstance(head, torch.nn.Module):
        raise _wrong(name, f"`head` returned {_words(head)}, not a torch.nn.Module")
    if not any(p.requires_grad and p.is_floating_point() for p in head.parameters()):
        raise _wrong(name, "its `head` has no parameter to train")


def check_logps(
    logps: object, hidden: torch.Tensor, head: Head, target: torch.Tensor, name: str
) -> None:
    """Check what a kernel returned.

    Args:
        logps: what it returned.
        hidden, head, target: what it was given.
        name: the kernel's strategy.

    Raises:
        SetupError: it is not float32 of target's shape (float64 for float64), or is not finite
            though hidden and head are.
    """
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    expected = f"{list(target.shape)} {_short(dtype)}"
    if not isinstance(logps, torch.Tensor) or (logps.shape, logps.dtype) != (target.shape, dtype):
        raise _wrong(name, f"its kernel returned {_words(logps)}, not {expected}")
    if _finite(logps) or not (_finite(hidden) and _finite(head.weight)):
        return
    bad = int((~logps.isfinite()).sum())
    raise SetupError(
        f"{bad} of the {logps.numel()} log-probs that its kernel returned are not finite",
        where=name,
        fix="Compare it with --plain, and with --dtype float32.",
    )


def check_output(output: object, denominators: object, name: str) -> None:
    """Check what a loss made of a batch.

    Args:
        output: what it returned.
        denominators: its own, of the same batch.
        name: the loss's strategy.

    Raises:
        SetupError: it is no `LossOutput` of scalar tensors, or a total has no denominator.
    """
    if not isinstance(output, LossOutput):
        raise _wrong(name, f"it returned {_words(output)}, not an anima_core.LossOutput")
    if not isinstance(denominators, Mapping):
        said = f"`denominators` returned {_words(denominators)}"
        raise _wrong(name, f"its {said}, not a mapping of numbers")
    if not output.totals:
        raise _wrong(name, "it returned a LossOutput without a total")
    if alone := [str(total) for total in output.totals if total not in denominators]:
        has = ", ".join(map(str, denominators)) or "none"
        raise _wrong(name, f"its total `{alone[0]}` has no denominator of that name (it has {has})")
    totals: Mapping[str, object] = output.totals
    for total, value in totals.items():
        if not isinstance(value, torch.Tensor) or value.ndim or not value.is_floating_point():
            raise _wrong(name, f"its total `{total}` is {_words(value)}, not a scalar tensor")
    metrics: Mapping[str, object] = output.metrics
    for metric, pair in metrics.items():
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise _wrong(name, f"its metric `{metric}` is {_words(pair)}, not (sum, count)")


@contextmanager
def changing_nothing(name: str) -> Iterator[None]:
    """Refuse what replaces attributes of torch that every model shares, and put them back."""
    with watched() as changed:
        yield
    if changed:
        raise _wrong(name, f"it {replaced(changed)}")


def _finite(tensor: torch.Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _wrong(name: str, what: str) -> SetupError:
    return SetupError(what, where=name, fix="This is a defect of the plugin; leave it out.")


def _words(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"{list(value.shape)} {_short(value.dtype)}"
    return f"a {type(value).__name__}"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
