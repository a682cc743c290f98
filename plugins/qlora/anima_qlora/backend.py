"""bitsandbytes and peft: imported quietly, and looked at for ``anima doctor``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from anima_core import Finding, SetupError

_KERNELS = "kernels"


@contextmanager
def no_downloaded_kernels() -> Iterator[None]:
    """Inside, ``import kernels`` fails; outside, everything is as it was.

    On a CPU with AVX512-BF16, importing bitsandbytes fetches compiled code from a hub by way of
    the ``kernels`` package, and warns where it cannot. That code serves a weight layout for
    inference only, which training never uses; and nothing that was not installed may run.
    """
    absent = object()
    was: Any = sys.modules.get(_KERNELS, absent)
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level = logger.level
    sys.modules[_KERNELS] = None  # type: ignore[assignment]
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if was is absent:
            del sys.modules[_KERNELS]
        else:
            sys.modules[_KERNELS] = was


def bitsandbytes() -> Any:
    """The package.

    Raises:
        SetupError: it is not installed, or does not import.
    """
    return _imported("bitsandbytes")


def peft() -> Any:
    """The package. peft imports bitsandbytes itself where that is installed, so that goes first.

    Raises:
        SetupError: it is not installed, or does not import.
    """
    try:
        bitsandbytes()
    except SetupError:
        # LoRA works without bitsandbytes; `qlora` and `paged-adamw` ask for it by themselves.
        logging.getLogger(__name__).debug("bitsandbytes is not usable", exc_info=True)
    return _imported("peft")


def _imported(name: str) -> Any:
    if name in sys.modules:
        return sys.modules[name]
    try:
        with no_downloaded_kernels():
            return import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        raise SetupError(
            f"{name} does not import: {error}",
            where="anima-adapt-qlora",
            fix=f"Run: pip install --force-reinstall {name}",
        ) from error


def devices() -> dict[str, bool]:
    """Devices that bitsandbytes knows, and whether this machine has each."""
    import torch

    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "xpu": hasattr(torch, "xpu") and torch.xpu.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    known = bitsandbytes().supported_torch_devices
    return {name: has for name, has in present.items() if name in known}


def diagnose_peft() -> Sequence[Finding]:
    """Whether peft is there, and which."""
    return [_package("peft", peft)]


def diagnose_bitsandbytes() -> Sequence[Finding]:
    """Whether bitsandbytes is there, which, and what its kernels can run on."""
    found = _package("bitsandbytes", bitsandbytes)
    if found.level != "ok":
        return [found]
    from bitsandbytes.cextension import ErrorHandlerMockBNBNativeLibrary, lib

    if isinstance(lib, ErrorHandlerMockBNBNativeLibrary):
        return [
            found,
            Finding(
                "error",
                "bitsandbytes cannot load its compiled kernels",
                "Run: python -m bitsandbytes, and install the build that it names.",
            ),
        ]
    here = ", ".join(name for name, has in devices().items() if has)
    elsewhere = ", ".join(name for name, has in devices().items() if not has)
    more = f" (it has kernels for {elsewhere} too)" if elsewhere else ""
    return [found, Finding("ok", f"bitsandbytes works here on {here}{more}")]


def _package(name: str, load: Any) -> Finding:
    try:
        load()
        return Finding("ok", f"{name} {version(name)}")
    except SetupError as error:
        return Finding("error", error.what, error.fix)
    except PackageNotFoundError:
        return Finding("error", f"{name} has no metadata", f"Run: pip install {name}")
