"""Another model beside the one that is trained: a teacher, a reference, a judge.

It is never trained and never in training mode, attends segment by segment as the core's own
attention does, and is called with the batches of the run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anima_core.errors import AnimaError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from anima_core.batch import Batch
    from anima_core.context import RunContext
    from anima_core.contracts import Head
    from anima_core.model.resolve import ModelSource
    from anima_core.registry.selection import Selection

CHUNK_TOKENS = 256
"""Supervised tokens whose logits are in memory at once, unless said otherwise."""


class FrozenModel:
    """A model that is only asked, made by `load_frozen`.

    Every method runs without a gradient and without autocast, in the dtype that the model was
    loaded in; log-probs are float32. S is the number of the batch's targets, and a row belongs to
    the place before the target, as a loss's log-probs do.

    Attributes:
        name: what it was loaded from.
        vocab: V, the entries of the vocabulary that it and the trained model both have. A model's
            head may be padded beyond its tokenizer; entries past V have no part in a
            distribution.
        window: the longest sequence that it can read, in tokens.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        vocab: int,
        window: int,
        where: str = "",
        patches: Sequence[AbstractContextManager[None]] = (),
    ) -> None:
        self.name = name
        self.vocab = vocab
        self.window = window
        self._model = model
        self._where = where
        self._patches = ExitStack()  # for as long as the model lives
        for patch in patches:
            self._patches.enter_context(patch)

    def free(self) -> None:
        """Give its memory back; from then on it cannot be asked."""
        import gc

        import torch

        self._patches.close()
        self._model = None
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def logits(self, batch: Batch) -> torch.Tensor:
        """Logits at every target's place, ``[S, V]`` float32, all in memory at once."""
        import torch

        return torch.cat([logits for _, logits in self.logit_chunks(batch, len(batch.sources))])

    def logit_chunks(
        self, batch: Batch, chunk_tokens: int = CHUNK_TOKENS
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        """The same a chunk at a time.

        Args:
            batch: the examples.
            chunk_tokens: most rows in a chunk.

        Yields:
            Which rows they are, and their logits, ``[C, V]`` float32.

        Raises:
            UsageError: a sequence is longer than the model can read.
        """
        import torch

        from anima_core.loss.plain import logits_of

        hidden, head = self._hidden(batch)
        for start in range(0, len(hidden), max(1, chunk_tokens)):
            rows = slice(start, min(start + max(1, chunk_tokens), len(hidden)))
            with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
                logits = logits_of(hidden[rows], head)
            yield rows, logits

    def topk(
        self, batch: Batch, k: int, chunk_tokens: int = CHUNK_TOKENS
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The k likeliest tokens at every target's place, the likeliest first.

        Args:
            batch: the examples.
            k: how many, 1 … V.
            chunk_tokens: rows whose logits are in memory at once.

        Returns:
            Their ids, ``[S, k]`` int64, and log-probs, ``[S, k]`` float32, normalised over all V.
        """
        import torch

        ids, logps = [], []
        for _, logits in self.logit_chunks(batch, chunk_tokens):
            values, indices = logits.topk(k, dim=-1)
            ids.append(indices)
            logps.append(values - torch.logsumexp(logits, dim=-1, keepdim=True))
        return torch.cat(ids), torch.cat(logps)

    def logps(self, batch: Batch, chunk_tokens: int = CHUNK_TOKENS) -> torch.Tensor:
        """Log-probs of the batch's targets, ``[S]`` float32: what a reference gives."""
        import torch

        parts = []
        for rows, logits in self.logit_chunks(batch, chunk_tokens):
            own = logits.gather(1, batch.targets[rows, None])[:, 0]
            parts.append(own - torch.logsumexp(logits, dim=-1))
        return torch.cat(parts)

    def _hidden(self, batch: Batch) -> tuple[torch.Tensor, Head]:
        """Hidden states at every target's place, ``[S, H]``, and the head cut to V."""
        import torch

        from anima_core.model.head import head_of, unwrap
        from anima_core.training.module import supervised_hidden

        longest = longest_sequence(batch)
        if longest > self.window:
            raise UsageError(
                f"{self.name} reads {self.window} tokens at most, and an example has {longest}",
                where=self._where,
                fix=f"Say --max-length {self.window} or less.",
            )
        head = head_of(unwrap(self._model))
        bias = head.bias[: self.vocab] if head.bias is not None else None
        with torch.no_grad(), torch.autocast(batch.ids.device.type, enabled=False):
            return (
                supervised_hidden(self._model, batch),
                replace(head, weight=head.weight[: self.vocab], bias=bias),
            )


def longest_sequence(batch: Batch) -> int:
    """The longest sequence of a batch in tokens; a continuation counts with its parent."""

    def size(index: int) -> int:
        segment = batch.layout[index]
        return segment.stop - segment.start + (size(segment.parent) if segment.parent >= 0 else 0)

    return max(size(index) for index in range(len(batch.layout)))


def load_frozen(run: RunContext, source: str, *, where: str = "") -> FrozenModel:
    """Load another model onto the run's device, in the run's dtype, never to be trained.

    Weights are read here, so call it when the run works and not when a hook answers: a `loss`
    hook is called for a plan too. The random state is left as it was, so that a run which loads
    one in its first step goes on as if it had not.

    Args:
        run: the run that it is for.
        source: what MODEL may be: a folder, a run directory (which brings its own adapter,
            quantisation and RoPE scaling), a hub id, a ``.gguf`` file or ``demo``.
        where: the option that named it, for an error's words.

    Raises:
        UsageError: there is no such model, it does not fit, or it is a run that learnt to judge
            text by a head of its own.
    """
    from anima_core.runs.capabilities import window_of
    from anima_core.runs.reporter import SilentReporter
    from anima_core.training.build import build_model

    with named(where), _randomness_as_it_was(run.device):
        found, selection, beside = frozen_source(run, source)
        attention = selection.call("attention", run=beside)
        built = build_model(found, beside, selection, attention, SilentReporter())
        model = built.adapter.model
        model.eval()
        model.requires_grad_(False)
        vocab = min(int(beside.model_config.vocab_size), int(run.model_config.vocab_size))
        window = window_of(beside.model_config)
        return FrozenModel(source, model, vocab, window, where, built.patches)


def frozen_source(run: RunContext, source: str) -> tuple[ModelSource, Selection, RunContext]:
    """A model beside a run's, without its weights: where it is, who loads it, and its context.

    Raises:
        UsageError: it cannot be had, or cannot write: its run trained a head that judges.
    """
    from anima_core.model.config import configured, read_config
    from anima_core.model.folder import model_folder
    from anima_core.model.resolve import resolve_model
    from anima_core.registry.selection import select
    from anima_core.runs.inherit import model_strategies

    found = resolve_model(source)
    if found.run is not None:
        _refuse_a_judge(source, found.run)
    selection = select(model_strategies(found.manifest) if found.run is not None else {})
    folder = model_folder(found, weights=False)
    beside = replace(
        run,
        config=run.config.model_copy(update={"gradient_checkpointing": False}),
        strategies=selection.strategies,
        model_dir=folder,
        model_config=read_config(folder, run.config),
        weights_dtype=run.dtype,
        run_dir=None,
    )
    return found, selection, configured(beside, selection)


def _refuse_a_judge(source: str, run: Path) -> None:
    from anima_core.training.heads import head_of_run

    head = head_of_run(run)
    if head is None:
        return
    what = f"the run {source} learnt to judge text by a head of its own ({head})"
    raise UsageError(
        f"{what}: its log-probs say nothing",
        where="MODEL",
        fix="Name a model that writes text: the one that the run started from, for instance.",
    )


@contextmanager
def named(where: str) -> Iterator[None]:
    """Name the option at fault in errors that speak of MODEL."""
    try:
        yield
    except AnimaError as error:
        if where and error.where in ("", "MODEL"):
            error.where = where
        raise


@contextmanager
def _randomness_as_it_was(device: str) -> Iterator[None]:
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    mps = torch.mps.get_rng_state() if device.startswith("mps") else None
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if mps is not None:
            torch.mps.set_rng_state(mps)
