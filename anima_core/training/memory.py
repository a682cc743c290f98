"""Peak memory of this process."""

from __future__ import annotations

import resource
import sys


def peak_memory(device: str) -> int:
    """Peak bytes so far: the device's allocator on CUDA, else the resident set of the process."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
