"""Check of what a loss says of its run, and of the metrics that it puts first."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anima_core.loss.collision import call_loss
from anima_core.testing.losses import draw_collision, draw_logps, draw_reference, prepared
from anima_core.training.step import Tally

if TYPE_CHECKING:
    from anima_core.batch import Batch
    from anima_core.contracts import Loss

STEPS = 300
"""Steps of the longest history that a loss is shown."""


def check_watching(loss: Loss, batch: Batch, *, seed: int = 0) -> None:
    """A loss's `headline` and `differences` name metrics that it has, and its `warnings` is pure.

    It is shown no record at all, few, many, those of evaluations alone, and records without the
    loss's own metrics, as a step that was skipped has them.

    Args:
        loss: a loss that may have either.
        batch: examples of the kind that it wants.
        seed: of the random log-probs.

    Raises:
        AssertionError: saying which of these does not hold.
    """
    logps, reference = draw_logps(loss, batch, seed), draw_reference(loss, batch, seed)
    collision = draw_collision(loss, logps, seed)
    output = call_loss(prepared(loss, batch), batch, logps, reference, collision)
    tally = Tally()
    tally.add(batch, output)
    found = output.metrics
    headline: Any = getattr(loss, "headline", ())
    texts = isinstance(headline, tuple) and all(isinstance(name, str) for name in headline)
    assert texts, f"`headline` is {headline!r}, no tuple of names"
    differences: Any = getattr(loss, "differences", {})
    for name, pair in differences.items():
        assert name not in found, f"`differences` names {name!r}, and the loss has it already"
        for part in pair:
            assert part in found, f"`differences` takes {part!r}, and the loss has no such metric"
    metrics = tally.means(loss)
    for name in headline:
        known = name in found or name in differences
        assert known, f"`headline` names {name!r}, and the loss has no such metric"
    ask: Any = getattr(loss, "warnings", None)
    if ask is None:
        return
    assert callable(ask), f"`warnings` is {ask!r}, and cannot be called"
    for history in _histories(metrics, batch.examples):
        _check_asked(loss, ask, history)


def _histories(metrics: Mapping[str, float], examples: int) -> Iterator[list[dict[str, float]]]:
    """Records as a run might have them, by the values that the metrics have once."""

    def steps(count: int, own: Callable[[int], Mapping[str, float]]) -> list[dict[str, float]]:
        bare = {"loss": 1.0, "learning_rate": 1e-4, "grad_norm": 1.0, "examples": examples}
        return [{"step": n, **bare, **own(n)} for n in range(1, count + 1)]

    yield []
    yield [{"step": 0, "eval_loss": 1.0, **{f"eval_{n}": v for n, v in metrics.items()}}]
    yield steps(3, lambda _: metrics)
    yield steps(STEPS, lambda _: metrics)
    yield steps(STEPS, lambda _: {})
    yield steps(STEPS, lambda n: {name: value + n / 10 for name, value in metrics.items()})
    yield steps(STEPS, lambda n: {name: value - n / 10 for name, value in metrics.items()})


def _check_asked(loss: Any, ask: Callable[..., Any], history: Sequence[dict[str, float]]) -> None:
    shown = f"with {len(history)} records"
    kept, state = copy.deepcopy(history), _state(loss)
    try:
        found = ask(history)
    except Exception as error:
        raise AssertionError(f"{shown} `warnings` failed: {error!r}") from error
    good = isinstance(found, Sequence) and not isinstance(found, str | bytes)
    assert good, f"{shown} `warnings` returned {found!r}, no list of texts"
    for text in found:
        assert isinstance(text, str), f"{shown} `warnings` returned a list with {text!r} in it"
        assert text.strip(), f"{shown} `warnings` returned an empty text"
    assert history == kept, f"{shown} `warnings` changed the records that it was shown"
    assert list(ask(tuple(history))) == list(found), (
        f"{shown} `warnings` says something else the second time"
    )
    assert _state(loss) == state, f"{shown} `warnings` changed the loss's state"


def _state(loss: Any) -> Any:
    return copy.deepcopy(loss.state_dict()) if callable(getattr(loss, "state_dict", None)) else None
