"""The core's model loader: full precision, safetensors only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anima_core
from anima_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PretrainedConfig, PreTrainedModel

    from anima_core.context import RunContext
    from anima_core.contracts import Attention, MemoryShape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class Safetensors:
    """Loads a model's weights unquantised."""

    api = 1
    summary = "The model in full precision, from safetensors only"
    slots = ("load_model",)
    requires = ()
    conflicts = ()
    Options = anima_core.NoOptions

    def __init__(self, options: anima_core.Options) -> None:
        self.options = options

    @anima_core.hookimpl
    def load_model(
        self, run: RunContext, config: PretrainedConfig, attention: Attention
    ) -> PreTrainedModel:
        """Load the weights in ``run.weights_dtype`` onto ``run.device``."""
        import copy

        from transformers import AutoModelForCausalLM

        try:
            model = AutoModelForCausalLM.from_pretrained(
                run.model_dir,
                # A copy: transformers writes into the config it is given.
                config=copy.deepcopy(config),
                dtype=run.torch_weights_dtype,
                attn_implementation=attention.name,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=run.config.trust_remote_code,
                device_map={"": run.device} if run.device != "cpu" else None,
            )
        except (OSError, ValueError) as error:
            raise UsageError(
                f"the model cannot be loaded: {str(error).splitlines()[0]}",
                where="MODEL",
                fix="The folder must hold config.json and safetensors of a causal language model.",
            ) from error
        loaded: PreTrainedModel = model
        return loaded

    @anima_core.hookimpl
    def estimate_memory(self, run: RunContext, shape: MemoryShape) -> Mapping[str, int]:
        """Bytes of the weights."""
        return {"weights": shape.parameters * BYTES[run.weights_dtype]}
