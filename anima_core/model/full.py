"""The core's adaptation: full fine-tuning of every weight."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anima_core
from anima_core.contracts import Adapter
from anima_core.errors import UsageError
from anima_core.problems import Problem
from anima_core.quiet import quiet_libraries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedModel

    from anima_core.context import RunContext
    from anima_core.contracts import MemoryShape


class Full:
    """Trains the model itself; its weights are kept in float32, so small updates are not lost."""

    api = 1
    summary = "Full fine-tuning: every weight is trained, in float32"
    slots = ("adapt_model",)
    requires = ()
    conflicts = ()
    learning_rate_scale = 1.0
    trains_base = True
    Options = anima_core.NoOptions

    def __init__(self, options: anima_core.Options) -> None:
        self.options = options

    @anima_core.hookimpl
    def adapt_model(self, run: RunContext, model: PreTrainedModel) -> Adapter:  # noqa: ARG002
        """Make every floating-point weight trainable."""
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}

        def save(folder: Path) -> None:
            with quiet_libraries():
                model.save_pretrained(folder)

        def load(folder: Path) -> None:
            load_weights(model, folder)

        def merge() -> PreTrainedModel:
            return model

        return Adapter(model, trainable, save, load, merge, folder="model")

    @anima_core.hookimpl
    def estimate_memory(
        self,
        run: RunContext,  # noqa: ARG002
        shape: MemoryShape,
    ) -> Mapping[str, int]:
        """A float32 gradient for every weight."""
        return {"gradients": shape.parameters * 4}

    @anima_core.hookimpl
    def validate(self, run: RunContext) -> Sequence[Problem]:
        """Refuse weights that were quantised before they came here."""
        if getattr(run.model_config, "quantization_config", None) is None:
            return ()
        return (Problem("MODEL", "full fine-tuning needs unquantised weights", "Add --lora."),)


def load_weights(model: PreTrainedModel, folder: Path) -> None:
    """Copy a saved model's safetensors into a model, exactly.

    Raises:
        UsageError: the folder holds no safetensors, or they do not fit the model.
    """
    import torch
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UsageError(f"{folder} holds no safetensors", fix="Name a finished run.")
    saved = {name: tensor for file in files for name, tensor in load_file(file).items()}
    own = model.state_dict()
    missing = {n for n in own if n not in saved} - _tied(model)
    wrong = [n for n, t in saved.items() if n not in own or own[n].shape != t.shape]
    if missing or wrong:
        raise UsageError(
            f"the weights in {folder} do not fit this model: "
            f"{', '.join(sorted({*missing, *wrong})[:3])}",
            fix="Start from the base model that the run was trained on.",
        )
    with torch.no_grad():
        for name, tensor in saved.items():
            own[name].copy_(tensor)


def _tied(model: PreTrainedModel) -> set[str]:
    """Names of weights that are another weight under a second name, and so are saved once."""
    seen: dict[int, str] = {}
    tied = set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() in seen:
            tied |= {name, seen[tensor.data_ptr()]}
        seen[tensor.data_ptr()] = name
    return tied
