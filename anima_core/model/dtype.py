"""The dtype is what the machine computes, not what the paper used."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

from anima_core.errors import UsageError


@dataclass(frozen=True)
class Precision:
    """What a run computes in.

    Attributes:
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        reason: why, for the plan.
        emulated: whether the device computes it far slower than float32.
    """

    dtype: str
    reason: str
    emulated: bool = False


def choose_device(wanted: str) -> str:
    """Resolve ``auto`` and check a device that was named.

    Raises:
        UsageError: the device is not there.
    """
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wanted == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    try:
        kind = torch.device(wanted).type
    except RuntimeError as error:
        raise UsageError(
            f"{wanted!r} is no device", where="--device", fix="Say auto, cpu, cuda, cuda:N or mps."
        ) from error
    if (kind == "cuda" and not cuda) or (kind == "mps" and not mps):
        raise UsageError(
            f"PyTorch {torch.__version__} finds no {kind} device here",
            where="--device",
            fix="Say --device cpu, or install a build of PyTorch for the device.",
        )
    if kind == "cuda" and (torch.device(wanted).index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"there are {torch.cuda.device_count()} CUDA devices, and no {wanted}",
            where="--device",
            fix="Count from 0.",
        )
    return wanted


def choose_precision(wanted: str, device: str) -> Precision:
    """Choose what matrix products compute in.

    ``auto`` takes bfloat16 where the device has it natively, else float32. An explicit choice is
    followed; one that a CPU emulates comes with the measured ratio.
    """
    native = native_bfloat16(device)
    if wanted == "auto":
        if native:
            return Precision("bfloat16", f"{device} computes bfloat16 natively")
        return Precision("float32", f"{device} has no native bfloat16")
    if device == "cpu" and wanted in ("bfloat16", "float16"):
        ratio = measured_slowdown(wanted)
        if ratio > 2:
            return Precision(
                wanted,
                f"asked for; this CPU emulates it: a matrix product took {ratio:.0f} times as "
                "long as in float32",
                emulated=True,
            )
    return Precision(wanted, "asked for")


def native_bfloat16(device: str) -> bool:
    """Whether a device multiplies bfloat16 matrices in hardware.

    A CPU is asked for its instructions (AVX512-BF16, AMX, Arm's BF16): a measurement would
    depend on what else the machine is doing.
    """
    import torch

    kind = device.split(":", maxsplit=1)[0]
    if kind == "cuda":
        return torch.cuda.get_device_capability(device if ":" in device else None) >= (8, 0)
    if kind != "cpu":
        return False
    if not hasattr(torch.cpu, "get_capabilities"):
        return measured_slowdown("bfloat16") < 1.0
    return any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name)


@cache
def measured_slowdown(dtype: str) -> float:
    """How many times as long as in float32 a matrix product takes on one core of this CPU.

    ``[256, 256] @ [256, 256]``: a tenth of a second even where it is emulated.
    """
    import torch

    def seconds(kind: torch.dtype) -> float:
        a = torch.ones(256, 256, dtype=kind)
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            _ = a @ a
            best = min(best, time.perf_counter() - start)
        return best

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return seconds(getattr(torch, dtype)) / seconds(torch.float32)
    finally:
        torch.set_num_threads(threads)
