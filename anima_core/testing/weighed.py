"""Check of a loss that weighs the tokens of one example differently."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from anima_core.loss.collision import call_loss
from anima_core.testing.data import batch_of
from anima_core.testing.losses import draw_collision, draw_logps, draw_reference, prepared

if TYPE_CHECKING:
    from anima_core.batch import EncodedExample
    from anima_core.contracts import Loss

_FACTORS = (2.0, 0.5, 1.5)
_TOLERANCE = 1e-5  # weights are float32


def check_token_weights(loss: Loss, examples: Sequence[EncodedExample], *, seed: int = 0) -> None:
    """A loss with ``weighs_tokens = True`` counts each target by ``batch.target_weights``.

    1. A weight that all tokens of an example share is that of the example: totals, denominators
       and gradient are the same.
    2. Weights that differ within an example tell its tokens apart, where one has several.

    Args:
        loss: the loss; copies of it are called.
        examples: completions.
        seed: of the random log-probs.

    Raises:
        AssertionError: one of these does not hold.
    """
    plain = [_weighed(example, lambda _: 1.0) for example in examples]
    factors = [_FACTORS[number % len(_FACTORS)] for number in range(len(plain))]
    pairs = list(zip(plain, factors, strict=True))
    by_example = [replace(e, weight=e.weight * factor) for e, factor in pairs]
    by_token = [_weighed(e, lambda _, factor=factor: factor) for e, factor in pairs]  # type: ignore[misc]
    expected = _evaluated(loss, by_example, seed)
    for what, value in _evaluated(loss, by_token, seed).items():
        scale = expected[what].abs().max().clamp_min(1e-8)
        worst = float(((value - expected[what]).abs() / scale).max())
        assert worst <= _TOLERANCE, (
            f"`weighs_tokens`: {what} is off by {worst:.2g} where all tokens of an example have "
            "the weight that else the example has: count each by `batch.target_weights`"
        )
    uneven = [_weighed(e, lambda index: _FACTORS[index % 2]) for e in plain]
    ratio = _evaluated(loss, uneven, seed)["gradient"] / _evaluated(loss, plain, seed)["gradient"]
    of = batch_of(plain).target_example
    own = [ratio[of == number] for number in range(len(plain))]
    several = [ratios for ratios in own if len(ratios) > 1]
    apart = [float(r.max() - r.min()) > _TOLERANCE * float(r.abs().max()) for r in several]
    assert any(apart) or not apart, (
        "`weighs_tokens`, but tokens of one example count alike whatever their weights: count "
        "each by `batch.target_weights`"
    )


def _weighed(example: EncodedExample, weight: Callable[[int], float]) -> EncodedExample:
    """The example with these weights of its tokens."""
    segments = tuple(
        replace(segment, weights=tuple(weight(index) for index in range(len(segment.ids))))
        for segment in example.segments
    )
    return replace(example, segments=segments)


def _evaluated(
    loss: Loss, examples: Sequence[EncodedExample], seed: int
) -> dict[str, torch.Tensor]:
    """Totals, denominators, and how much each target's log-probs move the loss, ``[S]``."""
    batch = batch_of(examples)
    ready = prepared(loss, batch)
    logps = draw_logps(loss, batch, seed)
    collision = draw_collision(loss, logps, seed)
    logps.requires_grad_()
    reference = draw_reference(loss, batch, seed)
    totals = call_loss(ready, batch, logps, reference, collision).totals
    below = ready.denominators(batch)
    value = torch.stack([total / below[name] for name, total in totals.items()]).sum()
    (gradient,) = torch.autograd.grad(value, logps)
    return {
        **{f"total {name!r}": total.detach().double() for name, total in totals.items()},
        **{f"denominator {n!r}": torch.tensor(v, dtype=torch.float64) for n, v in below.items()},
        "gradient": gradient.flatten(1).abs().sum(1) if gradient.ndim > 1 else gradient,
    }
