"""Which machine this is: a table of timings means nothing without it."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path

BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}
"""CPU flags (x86, Arm) of matrix products in bfloat16."""


@dataclass(frozen=True)
class Machine:
    """The facts of a CPU that timings depend on.

    Attributes:
        cpu: its name.
        cores: cores that this process may use.
        vectors: the widest vector instructions.
        native_bf16: whether it multiplies bfloat16 natively; elsewhere it is emulated, some 200
            times slower.
        memory_bytes: physical memory.
    """

    cpu: str
    cores: int
    vectors: str
    native_bf16: bool
    memory_bytes: int

    @property
    def dtype(self) -> str:
        """The dtype that this machine computes natively."""
        return "bfloat16" if self.native_bf16 else "float32"

    def describe(self) -> str:
        """One line for a table's caption."""
        bf16 = "native bf16" if self.native_bf16 else "no native bf16"
        memory = self.memory_bytes / 2**30
        return f"{self.cpu}, {self.cores} cores, {self.vectors}, {bf16}, {memory:.0f} GiB"

    def to_json(self) -> dict[str, object]:
        """The same as a record."""
        return asdict(self)


def this_machine() -> Machine:
    """Read it from Linux's /proc; elsewhere as much as Python knows."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    flags = set(_field(text, "flags|Features").split())
    if "avx512f" in flags:
        vectors = "AVX-512"
    elif "avx2" in flags:
        vectors = "AVX2"
    else:
        vectors = platform.machine()
    return Machine(
        cpu=_field(text, "model name") or platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        vectors=vectors,
        native_bf16=bool(flags & BF16_FLAGS),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def _field(text: str, name: str) -> str:
    found = re.search(rf"^(?:{name})\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""
