"""Check of a change to a model's config, before the model is loaded."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from anima_core.testing.compare import logits
from anima_core.testing.context import run_context
from anima_core.testing.instances import call

if TYPE_CHECKING:
    from anima_core.testing.models import Family


def check_configure(
    configure: Callable[..., None],
    config: PretrainedConfig | None = None,
    *,
    family: Family = "llama",
) -> None:
    """A change of the config depends on nothing but the config, and touches no other.

    Training, planning and generation each configure a copy of their own, and must see one model:
    equal configs come out equal, also on the second call of one instance. ``run.model_config``
    stays as it is; nothing is returned; and a model of the changed config computes.

    Args:
        configure: the hook, bound: ``strategy.configure_model``.
        config: the config to change; ``tiny_config(family)`` when None.
        family: which model.

    Raises:
        AssertionError: saying which of these does not hold.
    """
    from anima_core.testing.models import tiny_config

    original = tiny_config(family) if config is None else config
    run = run_context(model_config=copy.deepcopy(original))
    kept = run.model_config.to_dict()
    results = []
    for _ in range(2):
        mine = copy.deepcopy(original)
        answer = call(configure, run=run, config=mine)
        assert answer is None, (
            f"configure_model returned {answer!r}; it changes `config` in place and returns nothing"
        )
        results.append(mine)
    changed = _different(kept, run.model_config.to_dict())
    assert not changed, f"it changed run.model_config ({changed}): change `config` alone"
    unequal = _different(results[0].to_dict(), results[1].to_dict())
    assert not unequal, f"two equal configs came out unequal: {unequal}"
    _check_computes(results[0])


def _different(a: dict[str, Any], b: dict[str, Any]) -> str:
    return ", ".join(sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name)))


def _check_computes(config: PretrainedConfig) -> None:
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=torch.float32)
        found = logits(model)
    except Exception as error:
        raise AssertionError(
            f"a model of the changed config does not compute: {type(error).__name__}: {error}"
        ) from error
    assert bool(found.isfinite().all()), "a model of the changed config computes no finite logits"
