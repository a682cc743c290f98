"""The strategy `qlora`: low-rank adapters on a model whose weights are kept in 4 or 8 bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import anima_core
from anima_qlora.lora import Lora
from anima_qlora.options import LoraOptions, QloraOptions

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class Qlora(Lora):
    """QLoRA (Dettmers et al. 2023, eq. 5): LoRA on quantised weights, restored for each product."""

    word: ClassVar[str] = "qlora"
    summary: ClassVar[str] = "LoRA on 4-bit or 8-bit weights (Dettmers et al. 2023)"
    slots: ClassVar[tuple[str, ...]] = ("load_model", "adapt_model")
    loads_quantized: ClassVar[bool] = True
    hardware: ClassVar[str] = "a device that bitsandbytes has kernels for, CPU and CUDA among them"
    Options: ClassVar[type[LoraOptions]] = QloraOptions
    options: QloraOptions

    def __init__(self, options: QloraOptions) -> None:
        super().__init__(options)

    @anima_core.hookimpl
    def load_model(
        self,
        run: anima_core.RunContext,
        config: PretrainedConfig,
        attention: anima_core.Attention,
    ) -> PreTrainedModel:
        """Load ordinary safetensors, quantising each linear layer but the head on the way."""
        from anima_qlora.backend import bitsandbytes

        bitsandbytes()
        from anima_qlora.quantised import load

        return load(self.options, run, config, attention)

    @anima_core.hookimpl
    def validate(self, run: anima_core.RunContext) -> Sequence[anima_core.Problem]:
        """What `lora` checks, and whether the weights can be quantised here."""
        from anima_qlora.backend import devices
        from anima_qlora.check import check_quantised

        try:
            known = devices()
        except anima_core.AnimaError as error:
            return [anima_core.Problem(f"--{self.word}", error.what, error.fix)]
        quantised = list(check_quantised(self.word, self.options, run, known))
        return [*quantised, *super().validate(run)]

    @anima_core.hookimpl
    def estimate_memory(
        self, run: anima_core.RunContext, shape: anima_core.MemoryShape
    ) -> Mapping[str, int]:
        """Bytes of the quantised weights, of the adapter and of its gradient."""
        from anima_qlora.memory import quantised_bytes

        weights = quantised_bytes(self.options, shape, run.weights_dtype)
        return {"weights": weights, **self._adapter_bytes(run, shape)}

    @anima_core.hookimpl
    def diagnose(self) -> Sequence[anima_core.Finding]:
        """Whether bitsandbytes is there, which, and where its kernels run."""
        from anima_qlora.backend import diagnose_bitsandbytes

        return diagnose_bitsandbytes()
