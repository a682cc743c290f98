"""How many bytes weights, adapter and optimizer state take. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from anima_core import MemoryShape
from anima_qlora.options import LoraOptions, QloraOptions
from anima_qlora.targets import Shape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
BLOCK = 64
"""Weights that share a scale in 4 bits (Dettmers et al. 2023, §3)."""
NESTED_BLOCK = 256
"""Scales that share a scale of their own, with double quantisation."""
STATE_BLOCK = 256
"""Elements of 8-bit optimizer state that share a scale."""
MIN_8BIT = 4096
"""Parameters with fewer elements keep 32-bit optimizer state."""


def adapter_sizes(options: LoraOptions, layers: Iterable[Shape]) -> list[int]:
    """Elements of every trainable tensor: A ``[r, in]``, B ``[out, r]``, DoRA's ``[out]``."""
    sizes = []
    for out, inner in layers:
        sizes += [options.r * inner, out * options.r]
        if options.dora:
            sizes.append(out)
    return sizes


def quantised_layer_bytes(options: QloraOptions, shape: Shape) -> int:
    """Bytes of one quantised linear layer."""
    out, inner = shape
    if options.bits == 8:
        return out * inner + 4 * out
    packed = -(-out * inner // 2)
    scales = -(-out * inner // BLOCK)
    code = 16 * 4
    if not options.double_quant:
        return packed + 4 * scales + code
    nested = 4 * -(-scales // NESTED_BLOCK) + 256 * 4 + 4
    return packed + scales + nested + code


def quantised_bytes(options: QloraOptions, shape: MemoryShape, dtype: str) -> int:
    """Bytes of a quantised model's weights; what is not a linear layer stays in `dtype`."""
    rest = shape.parameters - shape.linear_parameters
    layers = sum(quantised_layer_bytes(options, s) for s in shape.linear_shapes)
    return layers + rest * BYTES[dtype]


def optimizer_bytes(sizes: Sequence[int], bits: int) -> int:
    """Bytes of AdamW's two moments.

    Args:
        sizes: elements of each trainable tensor.
        bits: 32, or 8 with a float32 scale for each block of each moment.
    """
    if bits == 32:
        return 8 * sum(sizes)
    small = sum(n for n in sizes if n < MIN_8BIT)
    large = [n for n in sizes if n >= MIN_8BIT]
    return 8 * small + 2 * sum(large) + 8 * sum(-(-n // STATE_BLOCK) for n in large)
