"""The teacher: a frozen model, loaded when it is first asked."""

from __future__ import annotations

import torch

import anima_core


class Teacher:
    """What a teacher finds likely at every target's place of a batch.

    The loss is asked which tokens it wants, and then called with their log-probs: the teacher
    reads each batch once, and its last answer is kept in between.

    Args:
        run: the run that it is for.
        source: the teacher, as MODEL may be given.
        k: how many tokens it names; the whole vocabulary where that is smaller.
        chunk_tokens: rows whose logits are in memory at once.
    """

    def __init__(self, run: anima_core.RunContext, source: str, k: int, chunk_tokens: int) -> None:
        self._run = run
        self._source = source
        self._k = k
        self._chunk_tokens = chunk_tokens
        self._model: anima_core.FrozenModel | None = None
        self._last: tuple[anima_core.Batch, tuple[torch.Tensor, torch.Tensor]] | None = None

    def topk(self, batch: anima_core.Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids ``[S, k]`` int64 and log-probs ``[S, k]`` float32, the likeliest first."""
        if self._last is None or self._last[0] is not batch:
            model = self._loaded()
            k = min(self._k, model.vocab)
            self._last = (batch, model.topk(batch, k, self._chunk_tokens))
        return self._last[1]

    def _loaded(self) -> anima_core.FrozenModel:
        if self._model is None:
            self._model = anima_core.load_frozen(self._run, self._source, where="--distill.teacher")
        return self._model
