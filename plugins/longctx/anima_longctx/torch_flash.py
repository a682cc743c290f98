"""PyTorch's own attention, with its flash kernel preferred where more than one would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from anima_core import segment_sdpa

if TYPE_CHECKING:
    from anima_core import SegmentAttend

ORDER = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def torch_flash(device: str) -> SegmentAttend:
    """Segment attention by PyTorch on a device.

    A CPU takes its flash kernel wherever it can, unasked. On CUDA another kernel may come first,
    so the order is given: flash, memory-efficient (float32, masks), then the plain formula.
    """
    if not device.startswith("cuda"):
        return segment_sdpa

    def attend(query: Tensor, key: Tensor, value: Tensor, **how: Any) -> Tensor:
        with sdpa_kernel(ORDER, set_priority=True):
            return segment_sdpa(query, key, value, **how)

    return attend
