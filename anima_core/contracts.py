"""The objects that hooks return: small typed records and protocols. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from anima_core.batch import Batch
    from anima_core.errors import DataError


@dataclass(frozen=True)
class Record:
    """One record of a data source, before anything is made of it.

    Attributes:
        fields: the record itself.
        file: where it came from.
        line: the line (jsonl, csv, tsv) or the 1-based record number.
        fault: why it could not be read, where the reader could go on; `fields` is then empty, and
            whoever takes the records raises it or passes over it.
    """

    fields: Mapping[str, Any]
    file: str
    line: int
    fault: DataError | None = None


@dataclass(frozen=True)
class Attention:
    """An attention implementation and what it can do.

    Attributes:
        name: the name under which it is registered in transformers'
            ``ALL_ATTENTION_FUNCTIONS``. The model's forward hands it the keyword argument
            ``segments``: the batch's ``layout`` (a tuple of `Segment`), or nothing in generation.
        dtypes: names of the dtypes it computes in; empty when it takes any.
        segments: whether it keeps segments apart exactly.
        shared_prefix: whether a segment may continue another.
        sliding_window: whether it honours a model's sliding window.
        softcap: whether it honours a model's attention soft-capping.
        note: one sentence for the plan, e.g. which kernel it fell back to.
    """

    name: str
    dtypes: tuple[str, ...] = ()
    segments: bool = True
    shared_prefix: bool = True
    sliding_window: bool = True
    softcap: bool = True
    note: str = ""


@dataclass(frozen=True)
class Head:
    """The output projection: ``logits = cap(scale * (hidden @ weight.T + bias))``.

    Attributes:
        weight: ``[V, H]``; requires a gradient only where it is trained.
        bias: ``[V]`` or None.
        softcap: c in ``cap(x) = c * tanh(x / c)`` (Gemma 2, arXiv:2408.00118 §2), or None.
        scale: a constant factor on the logits (Cohere, Granite).
    """

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    softcap: float | None = None
    scale: float = 1.0


class TokenLogps(Protocol):
    """How per-token log-probabilities come out of hidden states."""

    def __call__(self, hidden: torch.Tensor, head: Head, target: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of target tokens, differentiable by hidden and by the head.

        Args:
            hidden: ``[N, H]``, any floating dtype.
            head: the output projection.
            target: ``[N]`` or ``[N, K]`` int64 token ids.

        Returns:
            float32, of target's shape.
        """
        ...


@dataclass(frozen=True)
class LossOutput:
    """What a loss makes of one micro-batch.

    Attributes:
        totals: sums (scalar tensors, differentiable); each is divided by its namesake among the
            loss's denominators, taken over the whole optimizer step.
        metrics: (sum, count) pairs, added up over micro-batches and ranks and then divided.
    """

    totals: Mapping[str, torch.Tensor]
    metrics: Mapping[str, tuple[float | torch.Tensor, float | torch.Tensor]] = field(
        default_factory=dict
    )


class Loss(Protocol):
    """What is done with the log-probabilities.

    Attributes:
        data: the examples it wants: ``"completion"``; ``"preference"``, a prompt with two
            answers; or ``"unpaired"``, a prompt with one answer of `Role` CHOSEN or REJECTED, as
            the data says that it is a good or a bad one.
        scope: ``"example"`` when one example's loss depends on that example alone, ``"step"``
            when it depends on the other examples of the optimizer step too: it is then called once
            with the whole step, at the price of a second forward pass over what some derivative of
            it goes back to, and runs in one process only. Held-out data is judged in such steps
            too.
        needs: what the kernel must hand it: ``"logps"`` for the log-probs of the targets,
            ``"topk"`` for those of several tokens at each target's place (see `TopkLoss`);
            ``"hidden"`` for the last hidden states of some tokens, without a kernel (see
            `HiddenLoss`). A loss whose need the `token_logps` strategy does not declare in
            ``gives`` is refused before anything loads.
        uses_reference: whether it wants a reference's log-probs: those of the model as training
            starts, unless it says otherwise.

    A loss may have an attribute ``reference_model``: what names another model for the reference,
    as MODEL may be given (a folder, a run directory, a hub id, a ``.gguf`` file, ``demo``), or
    None. The core loads that model first, asks it and frees it before it loads the one to train;
    another vocabulary, or a window shorter than the longest example, is refused before that.

    A loss may declare ``headline``, a tuple of names of its metrics: those that a person looks at
    first. The progress line then shows these alone (all stand in ``metrics.jsonl``), and the
    report draws them. It may also offer `Watching.warnings`.

    A loss may declare ``differences``, a mapping such as
    ``{"margin": ("rewards_chosen", "rewards_rejected")}``: a further metric is then one metric's
    mean less another's, of the whole step or of all held-out data, however it was cut. It is left
    out where one of the two counted nothing.

    A loss of unpaired answers may declare ``mismatched = True``: a second answer continues each
    prompt then, that of another example (`Role` MISMATCHED), whose tokens are targets too. It is
    fixed by the data; an example may lack it where none fits the limit.

    A loss may offer ``step_done(metrics: Mapping[str, tuple[float, float]]) -> None``. Every
    process calls it once after each optimizer step, before that step's checkpoint, with the (sum,
    count) of each metric over all of the step's micro-batches and processes. What a loss carries
    from one step to the next, such as a running mean, is to change there alone: it is then the same
    however a step is cut, and such a loss may look at each example by itself. A loss that has a
    ``state_dict`` without it runs in one process only.

    A loss may offer ``data_problems(data: DataSummary) -> Sequence[Problem]``, called before
    anything loads with what is known of the data that is trained on.

    A loss may declare ``weighs_tokens = True``: it counts each target by ``batch.target_weights``,
    so that messages of one example may weigh differently. Without it, data whose messages have
    weights other than 0 and 1 is refused before anything loads.

    A loss of pairs may declare ``reads_margins = True``: it looks at ``batch.margins``, by how much
    the data says that an answer is the better one. Without it, the plan notes that data has some.

    A loss that needs ``"logps"`` may declare ``collision = True``. It is then called as
    ``loss(batch, logps, reference, collision=...)``, whatever the kernel, with the logarithm of the
    collision probability at each target's place, ``log sum over v of p_v^2`` for the model's p
    there: ``[S]`` float32, without a gradient. It says how sure the model is of what it would say:
    0 of one token, -log V of none. The price is one more product with the head, chunk by chunk.
    """

    @property
    def data(self) -> Literal["completion", "preference", "unpaired"]: ...  # noqa: D102
    @property
    def scope(self) -> Literal["example", "step"]: ...  # noqa: D102
    @property
    def needs(self) -> Literal["logps", "topk", "hidden"]: ...  # noqa: D102
    @property
    def uses_reference(self) -> bool: ...  # noqa: D102

    def denominators(self, batch: Batch) -> dict[str, float]:
        """What each total is divided by, from the batch alone: tokens, pairs, weights."""
        ...

    def __call__(
        self, batch: Batch, logps: torch.Tensor, reference: torch.Tensor | None = None
    ) -> LossOutput:
        """The totals of a batch.

        Args:
            batch: the examples.
            logps: log-probs of ``batch.targets``, ``[S]`` float32, differentiable; of the tokens
                that `TopkLoss.wanted` named, ``[S, K]``, where it needs ``"topk"``. They are
                normalised over the whole vocabulary.
            reference: the reference model's log-probs of ``batch.targets``, ``[S]`` float32, or
                None.
        """
        ...


class TopkLoss(Loss, Protocol):
    """A loss with ``needs = "topk"``: it compares several tokens at each target's place.

    Distillation is the example: it asks for the target and for what a teacher finds likely. The
    core calls ``wanted(batch)``, then the kernel, then the loss, once for every micro-batch. With
    ``scope = "step"`` it asks before each of the step's two passes, and K must be the same for
    every micro-batch; the loss is then called with the whole step as one batch. The second pass
    may lack examples of a micro-batch, so what it wants of one must not depend on the others.
    """

    def wanted(self, batch: Batch) -> torch.Tensor:
        """The tokens whose log-probs the loss is to be given.

        Called inside the forward pass, so the same batch must give the same answer.

        Returns:
            Token ids, ``[S, K]`` int64 on the batch's device; one row for each of
            ``batch.targets``. A token may stand twice in a row.
        """
        ...


class HiddenLoss(Loss, Protocol):
    """A loss with ``needs = "hidden"``: it looks at hidden states, not at log-probs.

    A reward model is the example: it scores an answer by the state of its last token. The core
    calls ``places(batch)``, then the model, then the loss as ``loss(batch, hidden)``, once for
    every micro-batch. ``hidden`` is ``[M, H]`` float32, the last hidden states (what the output
    projection would see) of those tokens, differentiable. Model and loss meet there: the `Head`
    and the `token_logps` kernel take no part, so any such strategy but the core's own is refused
    beside it, and so is ``uses_reference``, since there are no log-probs to compare.

    With ``scope = "step"`` the loss is called with the whole step as one batch, and its
    derivatives by the hidden states drive the second pass.

    It may have a trained head of its own::

        def head(self, hidden_size: int) -> torch.nn.Module

    The loss keeps the module that it makes and calls it itself. It is made when training is set
    up, under the run's seed (for the plan once more, on the ``meta`` device, to count it), moved
    to the run's device in float32, and trained beside the adapter's parameters in groups of its
    own. Its `state_dict` is saved as ``head/head.safetensors`` inside the adapter's folder, in
    every checkpoint and in the result, and read from there by ``--resume`` and where the run is
    another's MODEL.
    """

    def places(self, batch: Batch) -> torch.Tensor:
        """The tokens whose last hidden states the loss is to be given.

        Called inside the forward pass, so the same batch must give the same answer.

        Returns:
            Indices into the batch's N tokens, ``[M]`` int64 on the batch's device, ascending,
            each token once.
        """
        ...


class Watching(Protocol):
    """What a loss may offer besides: it looks at how a run goes, and says what seems wrong.

    ``warnings(history)`` is called by the run's first process after each step and each evaluation.
    It must be pure and quick, a statistical test rather than a threshold on one step: what it says
    is told on the screen as a warning, and stands in ``manifest.json`` and ``report.html``. A text
    is told once; two that differ in numbers alone count as one. Nothing it does alters the run:
    where it fails, the run goes on without it, and that is told in its stead.
    """

    def warnings(self, history: Sequence[Mapping[str, float]]) -> Sequence[str]:
        """What is most likely wrong, and what to do about it: a sentence or two each.

        Args:
            history: records as ``metrics.jsonl`` has them, in order: those of at most the last
                1,000 steps (with ``loss``, ``learning_rate``, ``examples``, the loss's own metrics)
                and those of the evaluations among them (with ``eval_loss``). Numbers alone: what is
                None or no number in a record is left out of it. After a resume it holds the
                records of the steps before.

        Returns:
            Nothing, as a rule.
        """
        ...


@dataclass(frozen=True)
class Adapter:
    """What is trainable, and how it is saved, loaded, switched off and merged.

    Attributes:
        model: the model to call; for PEFT the `PeftModel`.
        trainable: the parameters to train, by name.
        save: write what was trained into a folder that exists and is empty.
        load: read such a folder into the model; raises `UsageError` when it does not fit.
        merge: fold the trained part into the weights and return the plain model.
        disabled: context manager under which the trained part is off; None where impossible.
        folder: name of the run directory's folder that holds it: ``adapter``, or ``model`` when
            a whole model is written.
    """

    model: PreTrainedModel
    trainable: Mapping[str, torch.nn.Parameter]
    save: Callable[[Path], None]
    load: Callable[[Path], None]
    merge: Callable[[], PreTrainedModel]
    disabled: Callable[[], AbstractContextManager[None]] | None = None
    folder: str = "adapter"


@dataclass(frozen=True)
class MemoryShape:
    """The sizes that memory depends on, for `estimate_memory`.

    Attributes:
        parameters: parameters of the whole model.
        linear_parameters: those of the linear layers inside the decoder blocks.
        linear_shapes: (out, in) of each of those linear layers.
        layers, hidden, intermediate, vocab: the model's sizes.
        micro_tokens: tokens in flight at once.
        trainable: trained parameters, read off the bytes that the `adapt_model` strategy
            estimates for ``gradients`` (float32); 0 while it is being asked.
    """

    parameters: int
    linear_parameters: int
    linear_shapes: tuple[tuple[int, int], ...]
    layers: int
    hidden: int
    intermediate: int
    vocab: int
    micro_tokens: int
    trainable: int = 0
