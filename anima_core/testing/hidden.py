"""What a loss that needs hidden states is given in a check, and the check of its own words."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import torch

if TYPE_CHECKING:
    from anima_core.batch import Batch
    from anima_core.contracts import HiddenLoss, Loss

HIDDEN_SIZE = 64
"""H, that of the tiny models."""


def places_of(loss: Loss, batch: Batch) -> torch.Tensor:
    """The tokens whose hidden states a loss asks for, ``[M]``.

    Raises:
        AssertionError: they are not ascending indices of the batch's tokens, ``[M]`` int64.
    """
    assert callable(getattr(loss, "places", None)), "it needs 'hidden', and has no method `places`"
    places: object = cast("HiddenLoss", loss).places(batch)
    assert isinstance(places, torch.Tensor), f"`places` returned a {type(places).__name__}"
    assert places.ndim == 1 and places.dtype == torch.int64, (  # noqa: PT018 - one thing: indices
        f"`places` returned {list(places.shape)} {places.dtype}, not [M] int64"
    )
    assert len(places), "`places` names no token"
    low, high = int(places.min()), int(places.max())
    assert low >= 0 and high < batch.tokens, (  # noqa: PT018 - one thing: a range
        f"`places` names tokens {low} to {high} of {batch.tokens}"
    )
    assert bool((places.diff() > 0).all()), "`places` are not ascending, each token once"
    return places


def where_in_example(batch: Batch, places: torch.Tensor) -> torch.Tensor:
    """How many tokens of its example stand before each of some tokens, ``[M]``."""
    sizes = torch.bincount(batch.example, minlength=batch.examples)
    return places - (sizes.cumsum(0) - sizes)[batch.example[places]]


def draw_hidden(loss: Loss, batch: Batch, seed: int) -> torch.Tensor:
    """Random hidden states of the tokens that a loss asks for, ``[M, H]`` float64."""
    generator = torch.Generator().manual_seed(seed)
    size = len(places_of(copy.deepcopy(loss), batch))
    return torch.randn(size, HIDDEN_SIZE, generator=generator, dtype=torch.float64)


def make_head(loss: Any, dtype: torch.dtype, seed: int = 0) -> torch.nn.Module | None:
    """Let a loss make its head, the same for the same seed; None for a loss that has none."""
    if getattr(loss, "head", None) is None:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head: object = loss.head(HIDDEN_SIZE)
    assert isinstance(head, torch.nn.Module), f"`head` returned a {type(head).__name__}, no module"
    assert any(p.requires_grad for p in head.parameters()), "its `head` has no parameter to train"
    return head.to(dtype)


def check_hidden(loss: Loss, batch: Batch, seed: int = 0) -> None:
    """What a loss with ``needs = "hidden"`` says of itself.

    1. It wants no reference, since there are no log-probs to compare.
    2. `places` are ascending indices of the batch's tokens, the same ones every time.
    3. Its `head`, where it has one, is a module with something to train, alike under one seed, can
       be made on the ``meta`` device, and takes part: each of its parameters gets a gradient.

    Raises:
        AssertionError: saying which of these does not hold.
    """
    assert not loss.uses_reference, "it needs 'hidden', and there are no reference log-probs then"
    fresh: Any = copy.deepcopy(loss)
    places = places_of(fresh, batch)
    assert torch.equal(places, places_of(fresh, batch)), "`places` names others the second time"
    if getattr(fresh, "head", None) is None:
        return
    with torch.device("meta"):
        fresh.head(HIDDEN_SIZE)
    first, again = (make_head(fresh, torch.float64, seed=7) for _ in range(2))
    assert first is not None and again is not None  # noqa: PT018 - there is one
    for name, tensor in first.state_dict().items():
        same = torch.equal(tensor, again.state_dict()[name])
        assert same, f"`head` makes another {name} under the same seed"
    below = fresh.denominators(batch)
    totals = fresh(batch, draw_hidden(fresh, batch, seed)).totals
    torch.stack([total / below[name] for name, total in totals.items()]).sum().backward()
    for name, parameter in again.named_parameters():
        if parameter.requires_grad:
            idle = parameter.grad is None or not bool(parameter.grad.any())
            assert not idle, f"the head's {name} has no part in the loss: it gets no gradient"
