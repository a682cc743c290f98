"""Check of a loss as a whole: everything that the core relies on."""

from __future__ import annotations

import copy
import math
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch

from anima_core.loss.collision import call_loss
from anima_core.testing.carried import check_carried
from anima_core.testing.data import batch_of, random_examples
from anima_core.testing.hidden import check_hidden
from anima_core.testing.losses import (
    check_gradient,
    check_micro_batch_invariance,
    draw_collision,
    draw_logps,
    draw_reference,
    prepared,
    wanted,
)
from anima_core.testing.watching import check_watching
from anima_core.testing.weighed import check_token_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anima_core.batch import Batch, EncodedExample
    from anima_core.contracts import Loss

_WORDS = {
    "data": ("completion", "preference", "unpaired"),
    "scope": ("example", "step"),
    "needs": ("logps", "topk", "hidden"),
    "uses_reference": (True, False),
}


def check_loss(
    loss: Loss,
    examples: Sequence[EncodedExample] | None = None,
    *,
    vocab: int = 320,
    seed: int = 0,
) -> None:
    """Everything that the core relies on in a loss, on weighted random examples.

    1. `data`, `scope`, `needs` and `uses_reference` are there and mean something; where it needs
       top-k, `wanted` gives ``[S, K]`` token ids, the same ones every time; where it needs hidden
       states, `places` gives indices of tokens, and a `head` can be trained (`check_hidden`); it
       says `collision` only where it needs log-probs of the targets.
    2. `denominators` are positive, and depend on the batch alone.
    3. Its gradient (`check_gradient`), also for an example alone, and, unless its scope is the
       step, its independence of micro-batches (`check_micro_batch_invariance`).
    4. float32 and bfloat16 log-probs (hidden states: float32) give the same value up to rounding,
       finitely, and leave the batch and the log-probs as they were; so does it under
       ``torch.no_grad``.
    5. A `state_dict` comes with a `load_state_dict` that takes it, and a loss with `step_done`
       changes it there alone, by the metrics alone (`check_carried`).
    6. Where it says `weighs_tokens`, that a weight of all tokens of an example is a weight of the
       example, and that weights within an example tell its tokens apart.
    7. `headline`, where it has one, names its metrics, and `warnings` is a pure function of the
       records that it is shown (`check_watching`).

    Args:
        loss: the loss; copies of it are called.
        examples: what to make batches of; weighted random ones of its kind when None.
        vocab: token ids of the random examples are below this.
        seed: of examples and log-probs.

    Raises:
        AssertionError: saying which of these does not hold.
    """
    for name, words in _WORDS.items():
        found: Any = getattr(loss, name, None)
        assert found in words, f"`{name}` is {found!r}, none of {', '.join(map(repr, words))}"
    others = getattr(loss, "mismatched", False)
    assert others in (True, False), f"`mismatched` is {others!r}, neither True nor False"
    assert loss.data == "unpaired" or not others, "`mismatched` is for unpaired answers"
    collides = getattr(loss, "collision", False)
    assert collides in (True, False), f"`collision` is {collides!r}, neither True nor False"
    assert loss.needs == "logps" or not collides, "`collision` is for a loss that needs 'logps'"
    if examples is None:
        kind, more = loss.data, {"weighted": True, "mismatched": bool(others)}
        examples = random_examples(kind, 6, seed=seed + 3, vocab=vocab, **more)
        if getattr(loss, "reads_margins", False):
            examples = [replace(e, margin=n % 3 / 2) for n, e in enumerate(examples)]
    batch = batch_of(examples)
    if loss.needs == "topk":
        _check_wanted(loss, batch, vocab)
    if loss.needs == "hidden":
        check_hidden(loss, batch, seed)
    _check_denominators(loss, batch)
    check_gradient(loss, batch, seed=seed)
    check_gradient(loss, batch_of(examples, [0]), seed=seed)
    if loss.scope == "example":
        check_micro_batch_invariance(loss, examples, seed=seed)
    _check_dtypes(loss, batch, seed)
    check_carried(loss, batch, seed=seed)
    check_watching(loss, batch, seed=seed)
    weighs = getattr(loss, "weighs_tokens", False)
    assert weighs in (True, False), f"`weighs_tokens` is {weighs!r}, neither True nor False"
    if weighs and loss.data == "completion":
        check_token_weights(loss, examples, seed=seed)


def _check_wanted(loss: Loss, batch: Batch, vocab: int) -> None:
    fresh = copy.deepcopy(loss)
    tokens = wanted(fresh, batch)
    assert tokens is not None
    low, high = int(tokens.min()), int(tokens.max())
    assert low >= 0 and high < vocab, f"`wanted` asks for tokens {low} to {high} of {vocab}"  # noqa: PT018
    again = wanted(fresh, batch)
    assert again is not None and torch.equal(tokens, again), (  # noqa: PT018
        "`wanted` asks for other tokens the second time"
    )


def _check_denominators(loss: Loss, batch: Batch) -> None:
    fresh = copy.deepcopy(loss)
    before: Any = fresh.denominators(batch)
    assert isinstance(before, dict) and before, f"denominators are {before!r}"  # noqa: PT018
    for name, value in before.items():
        number = isinstance(value, int | float) and math.isfinite(value)
        assert number, f"denominator {name!r} is {value!r}, not a number"
        assert value > 0, f"denominator {name!r} is {value}"
    fresh = prepared(fresh, batch)
    for seed in (1, 2):
        logps = draw_logps(fresh, batch, seed)
        collision = draw_collision(fresh, logps, seed)
        call_loss(fresh, batch, logps, draw_reference(fresh, batch, seed), collision)
        after = fresh.denominators(batch)
        assert after == before, (
            f"the denominators depend on the log-probs: {before}, and {after} after a call"
        )


def _check_dtypes(loss: Loss, batch: Batch, seed: int) -> None:
    logps, reference = draw_logps(loss, batch, seed), draw_reference(loss, batch, seed)
    spread = draw_collision(loss, logps, seed)
    exact = _value(loss, batch, logps, (reference, spread)).detach()
    kept = {f.name: copy.deepcopy(getattr(batch, f.name)) for f in fields(batch)}
    dtypes = ((torch.float32, 1e-4), (torch.bfloat16, None))
    for dtype, allowed in dtypes[:1] if loss.needs == "hidden" else dtypes:
        given = logps.to(dtype).requires_grad_()
        other = tuple(None if t is None else t.to(dtype) for t in (reference, spread))
        handed = [given.detach(), *(t for t in other if t is not None)]
        before = [t.clone() for t in handed]
        value = _value(loss, batch, given, other)
        for now, then in zip(handed, before, strict=True):
            assert torch.equal(now, then), "the loss changed the log-probs it was given"
        assert bool(value.isfinite()), f"{dtype} log-probs give {value.item()}"
        (gradient,) = torch.autograd.grad(value, given)
        assert bool(gradient.isfinite().all()), f"{dtype} log-probs give no finite gradient"
        with torch.no_grad():
            silent = _value(loss, batch, given, other)
        assert torch.equal(silent, value), f"under torch.no_grad the loss is {silent}, not {value}"
        off = abs(float(value.detach()) - float(exact)) / max(abs(float(exact)), 1.0)
        assert allowed is None or off <= allowed, (
            f"{dtype} log-probs give {float(value.detach()):.7g}, float64 {float(exact):.7g}"
        )
    for name, before in kept.items():
        now = getattr(batch, name)
        same = torch.equal(now, before) if isinstance(now, torch.Tensor) else now == before
        assert same, f"the loss changed the batch's `{name}`"


def _value(
    loss: Loss, batch: Batch, logps: torch.Tensor, besides: Sequence[torch.Tensor | None]
) -> torch.Tensor:
    fresh = prepared(loss, batch, logps.dtype)
    below = fresh.denominators(batch)
    totals = call_loss(fresh, batch, logps, *besides).totals
    return torch.stack([total / below[name] for name, total in totals.items()]).sum()
