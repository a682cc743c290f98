"""Check of an adapter: what is trained, and how it is saved, loaded, switched off and merged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from anima_core.contracts import Adapter
from anima_core.errors import UsageError
from anima_core.quiet import quiet_libraries
from anima_core.testing.compare import error, gradients, logits, perturb
from anima_core.testing.files import check_safetensors
from anima_core.testing.instances import call

if TYPE_CHECKING:
    from anima_core.testing.models import Family

Make = Callable[[], PreTrainedModel]


def check_adapter(
    adapt: Callable[..., Adapter],
    *,
    family: Family = "llama",
    load: Callable[..., PreTrainedModel] | None = None,
    tolerance: float = 1e-4,
    merge_tolerance: float | None = None,
) -> None:
    """An adapter trains what it says and nothing else, and can be put aside and taken up again.

    1. `trainable` holds exactly the parameters that require a gradient, and a gradient reaches
       each of them.
    2. Under `disabled`, the logits are the base model's, and afterwards the adapted one's again.
    3. `save` into an empty folder writes safetensors and no pickle, and changes nothing; `load`
       of it into a model adapted anew gives the same logits. `load` of a folder that holds
       nothing raises `UsageError`.
    4. `merge` gives a plain model, with the parameters of the base model and the logits of the
       adapted one.

    All of it after the trained parameters were moved, so that a zero update hides nothing.

    Args:
        adapt: the hook, bound: ``strategy.adapt_model``.
        family: which model.
        load: the ``load_model`` hook, bound, of a strategy that brings its own.
        tolerance: largest difference of logits, relative to the largest.
        merge_tolerance: the same for `merge`; `tolerance` when None.

    Raises:
        AssertionError: saying which of these does not hold.
    """
    from anima_core.testing.tiny_runs import tiny_run

    with tiny_run(family, load) as tiny, quiet_libraries():

        def adapted(seed: int, model: PreTrainedModel | None = None) -> Adapter:
            # Under a seed of its own, so that no two adapters begin alike.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return call(adapt, run=tiny.run, model=model or tiny.make())  # type: ignore[no-any-return]

        _check(adapted, tiny.make, tolerance, merge_tolerance or tolerance)


def _check(
    adapted: Callable[..., Adapter], make: Make, tolerance: float, merge_tolerance: float
) -> None:
    model = make()
    base, plain = logits(model), _shape_of(model)
    adapter = adapted(1, model)
    assert isinstance(adapter, Adapter), f"adapt_model returned {adapter!r}, which is no Adapter"
    _check_trainable(adapter)
    perturb(adapter.trainable.values(), seed=2)
    moved = logits(adapter.model)
    assert error(moved, base) > tolerance, "the trained parameters do not change the logits"
    _check_gradients(adapter)
    if adapter.disabled is not None:
        _check_disabled(adapter, base, moved, tolerance)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _check_saved(adapter, folder, moved)
        _check_loads(adapted(3), folder, moved, tolerance)
    _check_refuses_nothing(adapted(3))
    _check_merged(adapter, moved, plain, merge_tolerance)


def _shape_of(model: Any) -> tuple[type, dict[str, tuple[int, ...]]]:
    return type(model), {name: tuple(p.shape) for name, p in model.named_parameters()}


def _check_trainable(adapter: Adapter) -> None:
    named = {id(p): name for name, p in adapter.trainable.items()}
    assert named, "`trainable` is empty: there is nothing to train"
    required = {id(p): n for n, p in adapter.model.named_parameters() if p.requires_grad}
    for key, name in required.items():
        assert key in named, (
            f"{name} requires a gradient, but `trainable` does not name it: freeze it"
        )
    for key, name in named.items():
        assert key in required, (
            f"`trainable` names {name}, which is frozen or not one of `model`'s parameters"
        )


def _check_gradients(adapter: Adapter) -> None:
    own = {id(p): name for name, p in adapter.model.named_parameters()}
    _, reached = gradients(adapter.model)
    for name, parameter in adapter.trainable.items():
        found = reached.get(own[id(parameter)])
        assert found is not None and bool(found.any()), f"no gradient reaches {name}"  # noqa: PT018
    adapter.model.zero_grad(set_to_none=True)


def _check_disabled(
    adapter: Adapter, base: torch.Tensor, adapted: torch.Tensor, tolerance: float
) -> None:
    assert adapter.disabled is not None
    with adapter.disabled():
        off = error(logits(adapter.model), base)
    assert off <= tolerance, (
        f"under `disabled` the logits are not the base model's: error {off:.3g}"
    )
    on = error(logits(adapter.model), adapted)
    assert on <= tolerance, f"after `disabled` the logits are not what they were: error {on:.3g}"
    _check_trainable(adapter)


def _check_saved(adapter: Adapter, folder: Path, adapted: torch.Tensor) -> None:
    adapter.save(folder)
    check_safetensors(folder)
    assert error(logits(adapter.model), adapted) == 0, "`save` changed the model"


def _check_loads(fresh: Adapter, folder: Path, adapted: torch.Tensor, tolerance: float) -> None:
    fresh.load(folder)
    off = error(logits(fresh.model), adapted)
    assert off <= tolerance, (
        f"a model adapted anew and loaded from what was saved has other logits: error {off:.3g}"
    )
    _check_trainable(fresh)


def _check_refuses_nothing(fresh: Adapter) -> None:
    with tempfile.TemporaryDirectory() as name:
        try:
            fresh.load(Path(name))
        except UsageError:
            return
        except Exception as other:
            what = f"`load` of an empty folder must raise UsageError, not {other!r}"
            raise AssertionError(what) from other
    raise AssertionError("`load` of an empty folder raised nothing: it must raise UsageError")


def _check_merged(
    adapter: Adapter,
    adapted: torch.Tensor,
    plain: tuple[type, dict[str, tuple[int, ...]]],
    tolerance: float,
) -> None:
    merged = adapter.merge()
    kind, shapes = _shape_of(merged)
    assert kind is plain[0], (
        f"`merge` returned a {kind.__name__}, not the plain {plain[0].__name__}"
    )
    strange = sorted(shapes.keys() ^ plain[1].keys())
    assert not strange, (
        f"`merge` returned a model with other parameters than the base's: {strange[:3]}"
    )
    off = error(logits(merged), adapted)
    assert off <= tolerance, f"the merged model's logits are not the adapted one's: error {off:.3g}"
