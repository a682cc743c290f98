"""The shape of a strategy class, as the registry reads it. Imports no torch."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Base of a strategy's options: unknown keys are refused, values are validated.

    Give every field a ``description`` (shown in ``--help``, with its unit).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, defer_build=True)


class NoOptions(Options):
    """The options of a strategy that has none."""


OptionsClass = type[Options]

GIVES = ("logps", "topk")
"""What a `token_logps` strategy's kernel can hand a loss, and does when its class does not say."""


class Strategy(Protocol):
    """What an entry point in the group ``anima.strategies`` resolves to: a class.

    Attributes:
        api: version of the hook API it was written for.
        summary: one line for ``anima plugins list``.
        slots: the exclusive hooks it answers.
        requires: names of strategies that must be selected too.
        conflicts: names of strategies that it cannot run beside.
        Options: its options.

    Optional class attributes:
        learning_rate: on a ``loss`` strategy, the peak learning rate that full fine-tuning
            with it wants (the core's default when absent: 2e-5).
        learning_rate_scale: on an ``adapt_model`` strategy, how many times that rate it wants
            (LoRA: 10, Schulman et al. 2025, "LoRA Without Regret").
        trains_base: on an ``adapt_model`` strategy, whether base weights themselves are
            trained, and so must be kept in float32.
        loads_quantized: on a ``load_model`` strategy, whether the weights it loads cannot be
            trained themselves.
        gives: on a ``token_logps`` strategy, what its kernel can hand a loss (`Loss.needs`):
            ``("logps", "topk")`` when absent. One that takes targets of shape ``[N]`` alone says
            ``("logps",)``, and a loss that wants several tokens a place is refused beside it.
        hardware: what machine it wants, in one line for ``anima plugins show``: "a CUDA device,
            else it falls back to SDPA". Any machine does when absent.
    """

    api: ClassVar[int]
    summary: ClassVar[str]
    slots: ClassVar[tuple[str, ...]]
    requires: ClassVar[tuple[str, ...]]
    conflicts: ClassVar[tuple[str, ...]]
    Options: ClassVar[OptionsClass]

    def __init__(self, options: Any) -> None: ...
