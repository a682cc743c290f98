"""Whether a kernel and a loss handed over what their contracts say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from anima_core.errors import SetupError

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
    low, high = (int(bound) for bound in torch.aminmax(wanted))
    if low < 0 or high >= vocab:
        raise _wrong(
            name,
            f"`wanted` asked for token {low if low < 0 else high}, and the model's head has "
            f"{vocab}: 0 to {vocab - 1}",
        )


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
