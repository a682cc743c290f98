"""A linear layer with 8-bit weights whose training and evaluation passes agree.

bitsandbytes' own layer also rounds the activations to 8 bits (always on CUDA; on a CPU in
evaluation mode only), all but those columns in which some value of the *batch* is large
(LLM.int8(), Dettmers et al. 2022, §3.2). What a token gives then depends on which others
share its micro-batch, and log-probs of a reference pass differ from those of training. Here the
weights are stored as bitsandbytes stores them, and the product is taken in the input's dtype.
"""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.nn.modules import Linear8bitLt


def dequantised(weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """``weight * scale / 127`` by rows.

    Args:
        weight: ``[out, in]`` int8.
        scale: ``[out]`` float32, the largest magnitude of each row.
        dtype: of the result.
    """
    return weight.to(dtype).mul_((scale / 127.0).to(dtype).unsqueeze(1))


def scale_of(layer: Any) -> torch.Tensor:
    """The largest magnitude of each row of an 8-bit layer's weight, ``[out]`` float32.

    bitsandbytes keeps it with the weight, and after a forward of its own in the layer's state.
    """
    kept = layer.weight.SCB if layer.weight.SCB is not None else layer.state.SCB
    scale: torch.Tensor = kept.to(layer.weight.device)
    return scale


class _Product(torch.autograd.Function):
    """``x @ W.T`` with W restored for each pass, so only its 8 bits are kept between them."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> Any:
        ctx.save_for_backward(weight, scale)
        ctx.dtype = x.dtype
        return torch.nn.functional.linear(x, dequantised(weight, scale, x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        weight, scale = ctx.saved_tensors
        (grad,) = grads
        return (grad @ dequantised(weight, scale, grad.dtype)).to(ctx.dtype), None, None


class Int8Linear(Linear8bitLt):
    """``Linear8bitLt`` with its weights and their layout, but exact in the activations."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [..., in]`` → ``[..., out]``, in x's dtype."""
        apply: Any = _Product.apply
        product: torch.Tensor = apply(x, self.weight.data, scale_of(self))
        return product if self.bias is None else product + self.bias.to(product.dtype)
