"""Checks of a `token_logps` kernel against the definition of a log-probability."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from anima_core.contracts import Head

if TYPE_CHECKING:
    from anima_core.contracts import TokenLogps


@dataclass(frozen=True)
class _Case:
    """One call of a kernel: sizes, the kind of head, and what is trained."""

    name: str
    tokens: int = 67
    hidden: int = 24
    vocab: int = 131
    targets: int | None = None
    bias: bool = False
    softcap: float | None = None
    scale: float = 1.0
    spread: float = 1.0
    least: float = 1e-5
    trained_head: bool = True
    trained_hidden: bool = True


_CASES = (
    _Case("a plain head"),
    _Case("a head with a bias", bias=True),
    _Case("a soft-capped head", softcap=2.0),
    _Case("a scaled head", scale=0.25),
    _Case("bias, soft-cap and scale", bias=True, softcap=3.0, scale=0.5),
    _Case("[N, K] targets", targets=3),
    _Case("[N, K] targets, bias, soft-cap and scale", targets=2, bias=True, softcap=2.0, scale=2.0),
    _Case("[N, 1] targets", targets=1),
    _Case("one token", tokens=1),
    _Case("more tokens than any chunk divides", tokens=1031, hidden=8, vocab=17),
    # A normaliser of 256 or more is rounded by up to 1.5e-5 in float32, and a probability that
    # is computed from it again inherits that.
    _Case("logits in the hundreds", spread=60.0, least=5e-5),
    _Case("a frozen head", trained_head=False, bias=True),
    _Case("a trained head on frozen states", trained_hidden=False),
    _Case("no token", tokens=0),
    _Case("no token, [N, K] targets", tokens=0, targets=2),
)


def check_token_logps(
    kernel: TokenLogps,
    *,
    dtype: torch.dtype = torch.float32,
    tolerance: float | None = None,
    device: str = "cpu",
    seed: int = 0,
    several: bool = True,
) -> None:
    """A kernel's log-probs, and its gradients by hidden states and head, are the textbook's.

    The reference is ``log_softmax(cap(scale * (hidden @ weight.T + bias)))`` in float64 from the
    same inputs. Biases, soft-caps, scales, ``[N]`` and ``[N, K]`` targets, no token at all,
    extreme logits, frozen heads and frozen states are tried, each under a random incoming
    gradient and without gradients.

    Args:
        kernel: what `token_logps` returned.
        dtype: of hidden states, weight and bias.
        tolerance: largest error, relative to the largest entry. When None: twice the error of
            PyTorch's own matmul in that dtype followed by a float32 log_softmax, and at least
            1e-5 (5e-5 for logits in the hundreds; a quarter of the rounding unit of a 16-bit
            dtype).
        device: where to compute.
        seed: of the random inputs.
        several: try ``[N, K]`` targets too; not for one whose class says ``gives = ("logps",)``.

    Raises:
        AssertionError: naming the case and the quantity that is off.
    """
    for index, case in enumerate(_CASES):
        if case.targets is not None and not several:
            continue
        generator = torch.Generator().manual_seed(seed + index)
        inputs = _inputs(case, dtype, device, generator)
        kept = [tensor.clone() for tensor in inputs.tensors]
        exact = dict(_run(case, _textbook, inputs.double()))
        plain = dict(_run(case, _textbook, inputs))
        for what, got in _run(case, kernel, inputs):
            for tensor, before in zip(inputs.tensors, kept, strict=True):
                assert torch.equal(tensor, before), f"{case.name}: the kernel changed its inputs"
            allowed = tolerance
            if allowed is None:
                allowed = _allowed(case, dtype, plain[what], exact[what])
            _close(f"{case.name}: {what}", got, exact[what], allowed)


class _Inputs(NamedTuple):
    """What a kernel is called with, and the gradient that comes back to it."""

    hidden: torch.Tensor
    head: Head
    target: torch.Tensor
    upstream: torch.Tensor

    @property
    def tensors(self) -> list[torch.Tensor]:
        bias = self.head.bias
        return [self.hidden, self.head.weight, self.target, *([] if bias is None else [bias])]

    def double(self) -> _Inputs:
        bias = None if self.head.bias is None else self.head.bias.double()
        head = replace(self.head, weight=self.head.weight.double(), bias=bias)
        return self._replace(hidden=self.hidden.double(), head=head)


def _inputs(case: _Case, dtype: torch.dtype, device: str, generator: torch.Generator) -> _Inputs:
    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device=device, dtype=dtype)

    shape = (case.tokens,) if case.targets is None else (case.tokens, case.targets)
    target = torch.randint(case.vocab, shape, generator=generator)
    if case.tokens > 1:  # the two ends of the vocabulary, and one token twice
        target[0], target[1] = 0, case.vocab - 1
        target[-1] = target[0]
    head = Head(
        weight=normal(case.vocab, case.hidden) * (case.spread / case.hidden**0.5),
        bias=normal(case.vocab) if case.bias else None,
        softcap=case.softcap,
        scale=case.scale,
    )
    upstream = torch.randn(shape, generator=generator).to(device)
    return _Inputs(normal(case.tokens, case.hidden), head, target.to(device), upstream)


def _textbook(hidden: torch.Tensor, head: Head, target: torch.Tensor) -> torch.Tensor:
    """The definition, in the dtype of its inputs up to the logits."""
    logits = hidden @ head.weight.T
    logits = logits.float() if logits.dtype.itemsize < 4 else logits
    if head.bias is not None:
        logits = logits + head.bias
    logits = head.scale * logits
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    logps = torch.log_softmax(logits, dim=-1)
    if target.ndim == 1:
        return logps.gather(1, target[:, None])[:, 0]
    return logps.gather(1, target)


def _run(case: _Case, kernel: TokenLogps, inputs: _Inputs) -> Iterator[tuple[str, torch.Tensor]]:
    """The kernel's values and gradients, by name."""
    # Leaves of their own: gradients of two runs must not meet. Memory is shared on purpose, so
    # that a kernel which writes into its inputs is seen.
    hidden = inputs.hidden.detach().requires_grad_(case.trained_hidden)
    weight = inputs.head.weight.detach().requires_grad_(case.trained_head)
    bias = inputs.head.bias
    bias = None if bias is None else bias.detach().requires_grad_(case.trained_head)
    head, target = replace(inputs.head, weight=weight, bias=bias), inputs.target
    with torch.no_grad():
        silent = kernel(hidden, head, target)
    assert not silent.requires_grad, f"{case.name}: needs a gradient under no_grad"
    logps = kernel(hidden, head, target)
    if hidden.dtype != torch.float64:
        assert logps.dtype == torch.float32, f"{case.name}: returned {logps.dtype}, not float32"
    assert logps.shape == target.shape, (
        f"{case.name}: returned {tuple(logps.shape)} for targets {tuple(target.shape)}"
    )
    assert logps.requires_grad, f"{case.name}: the log-probs are not differentiable"
    yield "log-probs", logps.detach()
    yield "log-probs under no_grad", silent
    leaves = {"hidden states": hidden, "weight": weight, "bias": bias}
    wanted = {k: v for k, v in leaves.items() if v is not None and v.requires_grad}
    gradients = torch.autograd.grad(
        logps, list(wanted.values()), inputs.upstream.to(logps.dtype), allow_unused=True
    )
    for (name, leaf), gradient in zip(wanted.items(), gradients, strict=True):
        assert gradient is not None, f"{case.name}: no gradient reaches the {name}"
        assert gradient.dtype == leaf.dtype, (
            f"{case.name}: the gradient by {name} is {gradient.dtype}, not {leaf.dtype}"
        )
        yield f"gradient by {name}", gradient


def _allowed(case: _Case, dtype: torch.dtype, plain: torch.Tensor, exact: torch.Tensor) -> float:
    least = case.least if dtype.itemsize >= 4 else torch.finfo(dtype).eps / 4
    if not exact.numel():
        return least
    error = (plain.double() - exact).abs().max() / exact.abs().max().clamp_min(1e-8)
    return max(2 * float(error), least)


def _close(what: str, got: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    assert got.shape == expected.shape, f"{what}: {tuple(got.shape)}, not {tuple(expected.shape)}"
    if not expected.numel():
        return
    scale = float(expected.abs().max().clamp_min(1e-8))
    error = float((got.double() - expected).abs().max()) / scale
    # A NaN fails as well.
    assert error <= tolerance, f"{what}: relative error {error:.3g}, more than {tolerance:.3g}"
