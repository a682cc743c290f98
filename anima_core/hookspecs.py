"""Every hook of Anima, with its signature, its meaning and the version it came with.

A *slot* is a question with one answer: exactly one selected strategy implements it (the core's
own default when no other does). A *stack* is called on every selected strategy, in the order
of the command line. A hook is called once a run and returns the object that works.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pluggy

from anima_core.contracts import Adapter, Attention, Loss, MemoryShape, Record, TokenLogps
from anima_core.problems import Finding, Problem

if TYPE_CHECKING:
    import torch
    from transformers import (
        PretrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
        TrainerCallback,
    )

    from anima_core.context import RunContext

PROJECT = "anima"
HOOK_API = 1
"""Version of the hook API. A strategy declares the one it was written for as ``api``."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a method of a strategy as its answer to the hook whose name it bears."""


@dataclass(frozen=True)
class HookInfo:
    """How the core treats one hook.

    Attributes:
        kind: ``slot`` (exactly one answer) or ``stack`` (all are called).
        default: name of the core's strategy that answers a slot when nobody else does.
        since: version of the hook API it came with.
    """

    kind: Literal["slot", "stack"]
    default: str = ""
    since: int = 1


HOOKS: Mapping[str, HookInfo] = {
    "load_tokenizer": HookInfo("slot", "auto-tokenizer"),
    "configure_model": HookInfo("stack"),
    "attention": HookInfo("slot", "sdpa"),
    "load_model": HookInfo("slot", "safetensors"),
    "adapt_model": HookInfo("slot", "full"),
    "patch_model": HookInfo("stack"),
    "read_data": HookInfo("slot", "files"),
    "token_logps": HookInfo("slot", "plain"),
    "loss": HookInfo("slot", "sft"),
    "optimizer": HookInfo("slot", "adamw"),
    "callbacks": HookInfo("stack"),
    "estimate_memory": HookInfo("stack"),
    "validate": HookInfo("stack"),
    "diagnose": HookInfo("stack"),
}

SLOTS = tuple(name for name, info in HOOKS.items() if info.kind == "slot")


class AnimaSpecs:
    """The hook specifications, for `pluggy`."""

    @hookspec(firstresult=True)
    def load_tokenizer(self, run: RunContext) -> PreTrainedTokenizerBase:  # type: ignore[empty-body]
        """Load the tokenizer, with pad, EOS and chat template settled.

        Called before data is encoded, and again by ``anima generate``. ``run.model_dir`` is the
        folder to load from. Raises `UsageError` when there is none.
        """

    @hookspec
    def configure_model(self, run: RunContext, config: PretrainedConfig) -> None:
        """Change the model's config in place, before any weight is read.

        Called for training, planning and generation alike, so inference sees the same model.
        Example: ``config.rope_parameters = {...}``.
        """

    @hookspec(firstresult=True)
    def attention(self, run: RunContext) -> Attention:  # type: ignore[empty-body]
        """Say which attention implementation the model is loaded with, and what it can do.

        Called before the model is loaded. Registers its function with transformers under a
        name of its own. The plan refuses a run that needs what it cannot do.
        """

    @hookspec(firstresult=True)
    def load_model(  # type: ignore[empty-body]
        self, run: RunContext, config: PretrainedConfig, attention: Attention
    ) -> PreTrainedModel:
        """Load the base model's weights from ``run.model_dir`` onto ``run.device``.

        Weights are of ``run.torch_weights_dtype`` unless quantised. No pickle is read; no
        remote code runs unless ``run.config.trust_remote_code``.
        """

    @hookspec(firstresult=True)
    def adapt_model(self, run: RunContext, model: PreTrainedModel) -> Adapter:  # type: ignore[empty-body]
        """Decide what is trainable. Called after `load_model`, before `patch_model`.

        Every other parameter must come back with ``requires_grad=False``.
        """

    @hookspec
    def patch_model(self, run: RunContext, model: PreTrainedModel) -> AbstractContextManager[None]:  # type: ignore[empty-body]
        """Change this one model instance, reversibly.

        Returns a context manager, entered before training and left after; the first selected
        strategy is outermost. Nothing outside the instance may change.
        """

    @hookspec(firstresult=True)
    def read_data(self, run: RunContext, sources: Sequence[str]) -> Iterable[Record]:  # type: ignore[empty-body]
        """Read records from the sources named on the command line, in order.

        Called once for each source, with that one alone, so that every source has its counts.
        Raises `DataError` with file and line for a source that cannot be read.
        """

    @hookspec(firstresult=True)
    def token_logps(self, run: RunContext) -> TokenLogps:  # type: ignore[empty-body]
        """Return the kernel that turns hidden states into log-probs of the targets."""

    @hookspec(firstresult=True)
    def loss(self, run: RunContext) -> Loss:  # type: ignore[empty-body]
        """Return the loss. A loss with state has ``state_dict`` and ``load_state_dict``."""

    @hookspec(firstresult=True)
    def optimizer(  # type: ignore[empty-body]
        self, run: RunContext, groups: Sequence[dict[str, object]]
    ) -> torch.optim.Optimizer:
        """Return an optimizer over parameter groups.

        Each group has ``params`` and ``weight_decay``; the learning rate is
        ``run.config.learning_rate``, and the schedule multiplies it.
        """

    @hookspec
    def callbacks(self, run: RunContext) -> Sequence[TrainerCallback]:  # type: ignore[empty-body]
        """Return `transformers.TrainerCallback` objects to be told of the run's events."""

    @hookspec
    def estimate_memory(self, run: RunContext, shape: MemoryShape) -> Mapping[str, int]:  # type: ignore[empty-body]
        """Estimate bytes by component (``weights``, ``adapter``, ``optimizer``, ``logits`` …).

        Every strategy speaks of its own component only; a later one's word replaces an
        earlier one's for the same component.
        """

    @hookspec
    def validate(self, run: RunContext) -> Sequence[Problem]:  # type: ignore[empty-body]
        """Find problems before any weight is read; all are reported together.

        ``run.model_config`` is the config as the model comes, before `configure_model`.
        """

    @hookspec
    def diagnose(self) -> Sequence[Finding]:  # type: ignore[empty-body]
        """Look at the machine for ``anima doctor``; called in isolation, without a run."""
