"""Check of a model loader: dtype, device, attention, head, and the plain loader's answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from anima_core.errors import AnimaError
from anima_core.model.head import check_head, head_of
from anima_core.quiet import quiet_libraries
from anima_core.testing.compare import distance, error, logits
from anima_core.testing.context import run_context
from anima_core.testing.instances import call
from anima_core.testing.tiny_runs import core_attention

if TYPE_CHECKING:
    from anima_core.context import RunContext
    from anima_core.contracts import Attention
    from anima_core.testing.models import Family

    Load = Callable[..., PreTrainedModel]

QUANTISED = 0.7
"""How far the logits of a loader that quantises may be off, as a norm relative to theirs."""


def check_loader(
    load: Load,
    *,
    family: Family = "llama",
    quantised: bool = False,
    tolerance: float | None = None,
    seed: int = 0,
) -> None:
    """A loader gives the saved model: its weights, in the dtype, place and attention asked for.

    1. A tiny model's folder is loaded in float32 and in bfloat16: every floating-point parameter
       has ``run.torch_weights_dtype`` (unless `quantised`) and lies on ``run.device``; the model
       has the attention that was handed over, and the config that was is not changed.
    2. Its head can be read (`anima_core.contracts.Head`), and its logits are the plain loader's.
    3. Without safetensors it raises an `AnimaError`, and opens no pickle.

    Args:
        load: the hook, bound: ``strategy.load_model``; called with those of ``run``, ``config``
            and ``attention`` that it takes.
        family: which model.
        quantised: whether it keeps weights in few bits (`loads_quantized`).
        tolerance: largest difference of the float32 logits, relative to the largest; 1e-5 when
            None. If quantised, the norm of the difference relative to that of the logits; 0.7
            when None, for random weights suffer most (of an unrelated model it is 1.4).
        seed: of the weights.

    Raises:
        AssertionError: saying which of these does not hold.
    """
    from anima_core.testing.models import save_tiny

    if tolerance is None:
        tolerance = QUANTISED if quantised else 1e-5
    with tempfile.TemporaryDirectory() as name, quiet_libraries():
        folder = save_tiny(Path(name) / "model", family, seed)
        for dtype in ("float32", "bfloat16"):
            run, attention = _asked(folder, dtype)
            model = _loaded(load, run, attention)
            _check_weights(model, run, quantised=quantised)
            _check_attention(model, attention)
            _check_head(model)
            plain = logits(_plain(run, attention))
            off = (distance if quantised else error)(logits(model), plain)
            # bfloat16 keeps 8 bits: two layers of rounding at most.
            allowed = tolerance if dtype == "float32" else max(tolerance, 5e-2)
            assert off <= allowed, (
                f"the {dtype} logits are not those of the model as it was saved: relative error "
                f"{off:.3g}, more than {allowed:.3g}"
            )
        _check_refuses_pickle(load, folder)


def _asked(folder: Path, dtype: str) -> tuple[RunContext, Attention]:
    """The run, and the core's own attention."""
    config: PretrainedConfig = AutoConfig.from_pretrained(folder)
    run = run_context(model=str(folder), model_dir=folder, model_config=config, dtype=dtype)
    return run, core_attention(run)


def _loaded(load: Load, run: RunContext, attention: Attention) -> PreTrainedModel:
    before = run.model_config.to_dict()
    model = call(load, run=run, config=run.model_config, attention=attention)
    assert isinstance(model, PreTrainedModel), f"load_model returned a {type(model).__name__}"
    after = run.model_config.to_dict()
    changed = sorted(n for n in {*before, *after} if before.get(n) != after.get(n))
    assert not changed, f"it changed the config it was given ({', '.join(changed)}): copy it"
    return model


def _plain(run: RunContext, attention: Attention) -> PreTrainedModel:
    from anima_core.model.load import Safetensors
    from anima_core.strategy import NoOptions

    plain: PreTrainedModel = Safetensors(NoOptions()).load_model(run, run.model_config, attention)
    return plain


def _check_weights(model: PreTrainedModel, run: RunContext, *, quantised: bool) -> None:
    for name, parameter in model.named_parameters():
        at = parameter.device.type
        assert at == run.device.partition(":")[0], f"{name} is on {at}, not {run.device}"
        if parameter.is_floating_point() and not quantised:
            assert parameter.dtype == run.torch_weights_dtype, (
                f"{name} is {parameter.dtype}, and {run.torch_weights_dtype} was asked for"
            )


def _check_attention(model: Any, attention: Attention) -> None:
    found = model.config._attn_implementation
    assert found == attention.name, (
        f"the model's attention is {found!r}, and {attention.name!r} was handed over"
    )


def _check_head(model: PreTrainedModel) -> None:
    try:
        check_head(model)
        weight = head_of(model).weight
    except Exception as other:
        raise AssertionError(f"the head cannot be read: {other}") from other
    vocab, hidden = model.config.vocab_size, model.config.hidden_size
    assert weight.is_floating_point(), f"the head's weight is {weight.dtype}"
    assert tuple(weight.shape) == (vocab, hidden), (
        f"the head's weight is {tuple(weight.shape)}, not ({vocab}, {hidden})"
    )


class _Trap:
    """Says that it was unpickled, by making a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def _check_refuses_pickle(load: Load, folder: Path) -> None:
    mark = folder.parent / "unpickled"
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    torch.save({"weight": _Trap(mark)}, folder / "pytorch_model.bin")
    run, attention = _asked(folder, "float32")
    run = replace(run, model_dir=folder)
    try:
        call(load, run=run, config=run.model_config, attention=attention)
    except AnimaError:
        pass
    except Exception as other:
        assert not mark.exists(), "it opened a pickle (pytorch_model.bin)"
        raise AssertionError(
            f"a folder without safetensors must raise UsageError, not {other!r}"
        ) from other
    else:
        assert not mark.exists(), "it opened a pickle (pytorch_model.bin)"
        raise AssertionError("it gave a model for a folder without safetensors")
    assert not mark.exists(), "it opened a pickle (pytorch_model.bin)"
