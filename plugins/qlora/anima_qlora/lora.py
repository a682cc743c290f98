"""The strategy `lora`: low-rank adapters on a frozen model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import anima_core
from anima_qlora.options import MUTATING, LoraOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from anima_qlora.targets import Shape


class Lora:
    """LoRA (Hu et al. 2021): ``W + s B A`` with W frozen, and B, A of rank r trained."""

    word: ClassVar[str] = "lora"
    api: ClassVar[int] = 1
    summary: ClassVar[str] = "LoRA adapters on every linear layer (Hu et al. 2021)"
    slots: ClassVar[tuple[str, ...]] = ("adapt_model",)
    requires: ClassVar[tuple[str, ...]] = ()
    conflicts: ClassVar[tuple[str, ...]] = ()
    learning_rate_scale: ClassVar[float] = 10.0
    trains_base: ClassVar[bool] = False
    Options: ClassVar[type[LoraOptions]] = LoraOptions

    def __init__(self, options: LoraOptions) -> None:
        self.options = options

    @anima_core.hookimpl
    def adapt_model(self, run: anima_core.RunContext, model: PreTrainedModel) -> anima_core.Adapter:
        """Freeze the model and add the adapter."""
        from anima_qlora.backend import peft

        peft()
        from anima_qlora.adapter import adapt

        return adapt(self.word, self.options, run, model)

    @anima_core.hookimpl
    def validate(self, run: anima_core.RunContext) -> Sequence[anima_core.Problem]:
        """Targets that the model does not have, and options that exclude one another."""
        from anima_qlora.backend import peft
        from anima_qlora.check import check_adapter
        from anima_qlora.targets import linear_layers

        try:
            peft()
            layers = linear_layers(run)
        except anima_core.AnimaError as error:
            return [anima_core.Problem(error.where or f"--{self.word}", error.what, error.fix)]
        return list(check_adapter(self.word, self.options, layers))

    @anima_core.hookimpl
    def estimate_memory(
        self, run: anima_core.RunContext, shape: anima_core.MemoryShape
    ) -> Mapping[str, int]:
        """Bytes of the adapter and of its gradient, in float32."""
        return self._adapter_bytes(run, shape)

    @anima_core.hookimpl
    def diagnose(self) -> Sequence[anima_core.Finding]:
        """Whether peft is there, and which."""
        from anima_qlora.backend import diagnose_peft

        return diagnose_peft()

    def _adapter_bytes(
        self, run: anima_core.RunContext, shape: anima_core.MemoryShape
    ) -> dict[str, int]:
        from anima_qlora.memory import adapter_sizes

        size = 4 * sum(adapter_sizes(self.options, adapted_shapes(self.options, run, shape)))
        # Where the base weight is changed, the factors that it was changed by are kept too.
        kept = 2 if self.options.init in MUTATING else 1
        return {"adapter": kept * size, "gradients": size}


def adapted_shapes(
    options: LoraOptions, run: anima_core.RunContext, shape: anima_core.MemoryShape
) -> Sequence[Shape]:
    """(out, in) of every layer that is adapted."""
    if options.all_linear:
        return shape.linear_shapes
    from anima_qlora.targets import linear_layers, selected

    return list(selected(options, linear_layers(run).shapes).values())
