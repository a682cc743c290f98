"""What is wrong with the options of `lora` and `qlora` for a model, before weights are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from anima_core import Problem, RunContext
from anima_qlora.options import MUTATING, LoraOptions, QloraOptions
from anima_qlora.targets import Layers, matches, selected, short_names, unknown


def check_adapter(word: str, options: LoraOptions, layers: Layers) -> Iterator[Problem]:
    """Problems of the adapter alone.

    Args:
        word: the strategy's name, for the flags in the messages.
        options: its options.
        layers: the model's linear layers.
    """
    for target in unknown(options, layers.shapes):
        if layers.head and matches(target, layers.head):
            what = f"{target} is the output head, which losses read directly: it is never adapted"
        else:
            what = f"no linear layer of the model is called {target!r}"
        yield Problem(f"--{word}.targets", what, f"It has {', '.join(short_names(layers.shapes))}.")
    if not layers.shapes:
        yield Problem(f"--{word}", "the model has no linear layer to adapt", "Use --full.")
    if options.init == "orthogonal" and options.r % 2:
        yield Problem(
            f"--{word}.init", f"orthogonal factors need an even rank, not {options.r}", "Change r."
        )
    if options.init in MUTATING and options.dora:
        yield Problem(
            f"--{word}.dora",
            f"DoRA measures the base weight, which {options.init} has moved into the adapter",
            f"Leave out --{word}.dora, or use --{word}.init default.",
        )
    if options.init == "olora" and layers.transposed:
        yield Problem(
            f"--{word}.init",
            "peft's olora takes the weights of this model's layers for their transposes",
            f"Use --{word}.init pissa.",
        )
    sizes = [min(shape) for shape in selected(options, layers.shapes).values()]
    smallest = min(sizes, default=options.r)
    if options.init in MUTATING and options.r > smallest:
        yield Problem(
            f"--{word}.r",
            f"{options.init} needs a rank of at most {smallest}, the smallest layer's size",
            f"Use --{word}.r {smallest}, or --{word}.init default.",
        )


def check_quantised(
    word: str, options: QloraOptions, run: RunContext, devices: Mapping[str, bool]
) -> Iterator[Problem]:
    """Problems of the quantisation.

    Args:
        word: the strategy's name.
        options: its options.
        run: the run.
        devices: those that bitsandbytes knows.
    """
    quantised = getattr(run.model_config, "quantization_config", None)
    if quantised is not None:
        method = (
            quantised.get("quant_method")
            if isinstance(quantised, dict)
            else getattr(quantised, "quant_method", None)
        )
        yield Problem(
            f"--{word}",
            f"the model's weights are quantised already ({getattr(method, 'value', method)})",
            "Use --lora, or the model's unquantised weights.",
        )
    if options.bits == 8 and options.quant_type != "nf4":
        yield Problem(f"--{word}.quant-type", "8-bit weights have no quant-type", "Leave it out.")
    if options.bits == 8 and not options.double_quant:
        yield Problem(
            f"--{word}.double-quant", "8-bit weights have no second quantisation", "Leave it out."
        )
    if options.init in MUTATING:
        yield Problem(
            f"--{word}.init",
            f"{options.init} changes the base weight, and quantising what is left gives another "
            "model than the one that is saved",
            f"Use --{word}.init default, or --lora.",
        )
    device = run.device.split(":")[0]
    if device not in devices:
        yield Problem(
            "--device",
            f"bitsandbytes has no kernels for {device}",
            f"Use {' or '.join(devices)}, or --lora.",
        )
