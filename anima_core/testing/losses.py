"""Checks of a loss: its gradient, and that micro-batches do not change it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch

from anima_core.batch import Role
from anima_core.loss.collision import call_loss
from anima_core.testing.data import batch_of
from anima_core.testing.hidden import draw_hidden, make_head, places_of, where_in_example

if TYPE_CHECKING:
    from anima_core.batch import Batch, EncodedExample
    from anima_core.contracts import Loss, LossOutput, TopkLoss


def check_gradient(
    loss: Loss,
    batch: Batch,
    reference: torch.Tensor | None = None,
    *,
    logps: torch.Tensor | None = None,
    collision: torch.Tensor | None = None,
    seed: int = 0,
    step: float = 1e-5,
    tolerance: float = 1e-6,
    points: int = 256,
) -> None:
    """The loss's gradient equals finite differences, in float64: by log-probs or hidden states.

    The loss must compute in the dtype of the log-probs that it is given: a cast to float32 on the
    way fails here. Its output must also be well formed: one scalar total for every denominator,
    metrics that hold no graph.

    Args:
        loss: the loss.
        batch: examples of the kind that it wants.
        reference: reference log-probs, ``[S]``; random ones when None and it uses them.
        logps: where to differentiate, ``[S]``, ``[S, K]`` for a loss that needs top-k, or
            ``[M, H]`` for one that needs hidden states; random ones when None.
        collision: for a loss that asks for it, ``[S]``; random ones when None.
        seed: of the random ones.
        step: h in the central difference ``(f(x + h) - f(x - h)) / 2h``, error O(h^2).
        tolerance: largest difference, relative to the gradient's largest entry.
        points: how many log-probs to move; random ones of them where there are more.

    Raises:
        AssertionError: a gradient that is wrong or missing, or a malformed output.
    """
    ready = prepared(loss, batch)
    point = draw_logps(loss, batch, seed) if logps is None else logps.detach().double()
    drawn = draw_collision(loss, point, seed) if collision is None else collision.double()
    point = point.requires_grad_()
    reference = draw_reference(loss, batch, seed) if reference is None else reference.double()

    def objective(values: torch.Tensor) -> torch.Tensor:
        fresh = copy.deepcopy(ready)
        output = call_loss(fresh, batch, values, reference, drawn)
        return _mean(_checked(output), fresh.denominators(batch))

    value = objective(point)
    assert bool(torch.isfinite(value)), f"the loss is {value.item()} for ordinary log-probs"
    assert value.requires_grad, "the totals do not depend on the log-probs: no gradient can flow"
    (gradient,) = torch.autograd.grad(value, point)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(point.numel(), generator=generator)
    moved = order[_differentiable(batch, gradient)[order]][:points].sort().values
    expected = torch.empty(len(moved), dtype=torch.float64)
    with torch.no_grad():
        for number, index in enumerate(moved):
            shift = torch.zeros_like(point)
            shift.view(-1)[index] = step
            expected[number] = (objective(point + shift) - objective(point - shift)) / (2 * step)
    found = gradient.flatten()[moved]
    _same("the gradient by log-prob", found, expected, tolerance, "the finite difference")


def _differentiable(batch: Batch, gradient: torch.Tensor) -> torch.Tensor:
    """Which log-probs the loss can be differentiated by, ``[gradient.numel()]`` bool.

    Those of mismatched answers are left out where no gradient flows through them: an estimate
    that is made of them, as KTO's, is a number to the loss.
    """
    given = torch.ones_like(gradient, dtype=torch.bool)
    other = batch.target_role == int(Role.MISMATCHED)
    if len(gradient) == len(other) and not gradient[other].any():
        given[other] = False
    return given.flatten()


def check_micro_batch_invariance(
    loss: Loss,
    examples: Sequence[EncodedExample],
    splits: Sequence[Sequence[Sequence[int]]] | None = None,
    *,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> None:
    """However a step is split into micro-batches, its loss, gradient and metrics are the same.

    Totals and metrics of the micro-batches must add up to those of the unsplit step, and
    denominators too, since the core divides by those of the whole step.

    Args:
        loss: a loss whose `scope` is ``"example"``.
        examples: the examples of one optimizer step.
        splits: partitions of their indices to try; when None: one by one, halves, uneven parts and
            an interleaved order.
        seed: of the random log-probs.
        tolerance: largest relative difference; log-probs are float64.

    Raises:
        AssertionError: a split changes something.
        ValueError: the loss's scope is ``"step"``: it sees the whole step at once, always.
    """
    if loss.scope != "example":
        raise ValueError("a loss of scope 'step' is given the whole step, never a micro-batch")
    whole = batch_of(examples)
    logps = draw_logps(loss, whole, seed)
    given = (draw_reference(loss, whole, seed), draw_collision(loss, logps, seed))
    logps.requires_grad_()
    unsplit = _evaluate(loss, examples, [range(len(examples))], logps, given)
    for split in splits if splits is not None else _splits(len(examples)):
        if sorted(index for part in split for index in part) != list(range(len(examples))):
            raise ValueError(f"{split} is not a partition of {len(examples)} examples")
        parts = _evaluate(loss, examples, split, logps, given)
        sizes = " + ".join(str(len(part)) for part in split)
        for what, expected in unsplit.items():
            assert parts.keys() == unsplit.keys(), (
                f"split {sizes} has {sorted(parts)}, unsplit {sorted(unsplit)}"
            )
            _same(f"split {sizes}: {what}", parts[what], expected, tolerance, "unsplit")


def _splits(count: int) -> list[list[list[int]]]:
    """Partitions that tell mistakes apart; those that need more examples are left out."""
    order = list(range(count))
    splits = [
        [[index] for index in order],
        [order[: count // 2], order[count // 2 :]],
        [order[:1], order[1:]],
        [order[::2][::-1], order[1::2]],
    ]
    return [[part for part in split if part] for split in splits]


def _evaluate(
    loss: Loss,
    examples: Sequence[EncodedExample],
    split: Sequence[Sequence[int]],
    logps: torch.Tensor,
    given: tuple[torch.Tensor | None, torch.Tensor | None],
) -> dict[str, torch.Tensor]:
    """One optimizer step over a split: everything that must not depend on it.

    What is given besides log-probs are the reference's and those of a collision.
    """
    whole = batch_of(examples)
    fresh = prepared(loss, whole)
    tokens = wanted(fresh, whole)
    owner = _owners(fresh, whole)
    out: dict[str, torch.Tensor] = {}

    def add(name: str, value: float | torch.Tensor) -> None:
        out[name] = out.get(name, torch.zeros((), dtype=torch.float64)) + value

    for part in split:
        batch = batch_of(examples, part)
        at = torch.cat([(owner == i).nonzero().flatten() for i in part])
        if loss.needs == "hidden":
            _same_places(fresh, whole, batch, at)
        own = wanted(fresh, batch)
        assert own is None or tokens is None or torch.equal(own, tokens[at]), (
            "`wanted` asks for other tokens of an example when others stand beside it"
        )
        reference, collision = (None if own is None else own[at] for own in given)
        result = _checked(call_loss(fresh, batch, logps[at], reference, collision))
        denominators = fresh.denominators(batch)
        assert result.totals.keys() == denominators.keys(), (
            f"totals {sorted(result.totals)} and denominators {sorted(denominators)} differ"
        )
        for name, total in result.totals.items():
            add(f"total {name!r}", total)
            add(f"denominator {name!r}", denominators[name])
        for name, (value, count) in result.metrics.items():
            add(f"sum of metric {name!r}", value)
            add(f"count of metric {name!r}", count)
    totals = [value for name, value in out.items() if name.startswith("total ")]
    assert all(t.requires_grad for t in totals), "a total does not depend on the log-probs"
    (gradient,) = torch.autograd.grad(torch.stack(totals).sum(), logps)
    return {name: value.detach() for name, value in out.items()} | {"gradient": gradient}


def _owners(loss: Loss, batch: Batch) -> torch.Tensor:
    """The example of each of the values that a loss is called with."""
    if loss.needs == "hidden":
        return batch.example[places_of(loss, batch)]
    return batch.target_example


def _same_places(loss: Loss, whole: Batch, batch: Batch, at: torch.Tensor) -> None:
    """A loss asks for the same tokens of an example, whatever stands beside it."""
    before, now = places_of(loss, whole)[at], places_of(loss, batch)
    expected, found = where_in_example(whole, before), where_in_example(batch, now)
    assert torch.equal(found, expected), (
        "`places` names other tokens of an example when others stand beside it"
    )


def _checked(output: LossOutput) -> LossOutput:
    """The output, once it is known to be well formed."""
    assert output.totals, "the loss returned no total"
    for name, total in output.totals.items():
        assert total.ndim == 0, f"total {name!r} has shape {tuple(total.shape)}, not a scalar"
    for name, pair in output.metrics.items():
        assert isinstance(pair, tuple) and len(pair) == 2, (  # noqa: PT018 - one thing: a pair
            f"metric {name!r} is not a (sum, count) pair"
        )
        for part in pair:
            kept = isinstance(part, torch.Tensor) and part.requires_grad
            assert not kept, f"metric {name!r} keeps the graph alive: detach it"
    return output


def _mean(output: LossOutput, denominators: Mapping[str, float]) -> torch.Tensor:
    """The step's loss: the sum of total/denominator."""
    assert output.totals.keys() == denominators.keys(), (
        f"totals {sorted(output.totals)} and denominators {sorted(denominators)} differ"
    )
    for name, value in denominators.items():
        assert value > 0, f"denominator {name!r} is {value}"
    return torch.stack([total / denominators[name] for name, total in output.totals.items()]).sum()


def wanted(loss: Loss, batch: Batch) -> torch.Tensor | None:
    """The tokens that a loss asks the kernel for, ``[S, K]``; None when it asks for none.

    Raises:
        AssertionError: they are not ``[S, K]`` int64.
    """
    if loss.needs != "topk":
        return None
    assert callable(getattr(loss, "wanted", None)), "it needs 'topk', and has no method `wanted`"
    tokens: object = cast("TopkLoss", loss).wanted(batch)
    assert isinstance(tokens, torch.Tensor), f"`wanted` returned a {type(tokens).__name__}"
    fit = tokens.ndim == 2 and tokens.shape[1] > 0 and tokens.dtype == torch.int64
    size = len(batch.targets)
    assert fit and len(tokens) == size, (  # noqa: PT018 - one thing: ids for every target
        f"`wanted` returned {list(tokens.shape)} {tokens.dtype}, not [{size}, K] int64"
    )
    return tokens


def prepared(loss: Loss, batch: Batch, dtype: torch.dtype = torch.float64) -> Loss:
    """A copy of a loss, as it is when it is called.

    It was asked which tokens it wants; one that needs hidden states has made its head, the same
    every time, in `dtype`.
    """
    fresh = copy.deepcopy(loss)
    wanted(fresh, batch)
    if fresh.needs == "hidden":
        make_head(fresh, dtype)
    return fresh


def draw_logps(loss: Loss, batch: Batch, seed: int = 0) -> torch.Tensor:
    """Random log-probs, or hidden states, as the core would hand them to a loss, float64.

    Returns:
        ``[S]`` from -3 to 0; ``[S, K]`` of the tokens that a loss with ``needs = "topk"`` wants,
        from a random distribution over the vocabulary at each place; ``[M, H]`` of the tokens
        whose states a loss with ``needs = "hidden"`` wants.
    """
    if loss.needs == "hidden":
        return draw_hidden(loss, batch, seed)
    generator = torch.Generator().manual_seed(seed)
    tokens = wanted(copy.deepcopy(loss), batch)
    size = len(batch.targets)
    if tokens is None:
        return -3 * torch.rand(size, generator=generator, dtype=torch.float64)
    vocab = int(torch.cat((tokens.flatten(), batch.ids)).max()) + 1
    logits = 2 * torch.randn(size, vocab, generator=generator, dtype=torch.float64)
    return torch.log_softmax(logits, dim=-1).gather(1, tokens)


def draw_reference(loss: Loss, batch: Batch, seed: int = 0) -> torch.Tensor | None:
    """What the core would hand the loss as reference: ``[S]`` float64, or None unless it asks."""
    if not loss.uses_reference:
        return None
    generator = torch.Generator().manual_seed(seed + 1)
    return -3 * torch.rand(len(batch.targets), generator=generator, dtype=torch.float64)


def draw_collision(loss: Loss, logps: torch.Tensor, seed: int = 0) -> torch.Tensor | None:
    """What the core would hand the loss as `collision`: ``[S]``, or None unless it asks.

    With p the target's probability, the rest of it is spread over some other tokens, alike: the
    sum of squares is p^2 + (1 - p)^2 / n.

    Args:
        loss: the loss.
        logps: log-probs of the targets, ``[S]``.
        seed: of n, which is from 1 to 100.
    """
    if not getattr(loss, "collision", False):
        return None
    generator = torch.Generator().manual_seed(seed + 2)
    others = 1 + 99 * torch.rand(len(logps), generator=generator, dtype=logps.dtype)
    said = logps.detach().exp()
    return (said**2 + (1 - said) ** 2 / others).log()


def _same(what: str, got: torch.Tensor, expected: torch.Tensor, tolerance: float, by: str) -> None:
    got, expected = got.double(), expected.double()
    assert got.shape == expected.shape, f"{what}: {tuple(got.shape)}, not {tuple(expected.shape)}"
    error = (got - expected).abs()
    scale = expected.abs().max().clamp_min(1e-8)
    if not bool((error <= tolerance * scale).all()):  # a NaN fails as well
        worst = int((error / scale).nan_to_num(float("inf")).argmax())
        where = f" [{worst}]" if got.ndim else ""
        raise AssertionError(
            f"{what}{where} is {got.flatten()[worst].item():.9g}, "
            f"{by} says {expected.flatten()[worst].item():.9g}"
        )
