"""A loss that needs ``topk``: log-probs of several tokens a place, in every part of the core."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from one_process import OneProcess
from torch.nn.functional import kl_div, log_softmax

from anima_core.attention.sdpa import NAME, segment_sdpa
from anima_core.attention.segments import register_segment_attention
from anima_core.batch import Batch
from anima_core.contracts import LossOutput
from anima_core.loss.plain import plain_logps
from anima_core.runs.reporter import SilentReporter
from anima_core.testing import (
    batch_of,
    check_gradient,
    check_micro_batch_invariance,
    random_examples,
    tiny_model,
)
from anima_core.training.evaluate import evaluate
from anima_core.training.module import LogpsModule
from anima_core.training.reference import Asked, reference_for
from anima_core.training.step import StepRunner, add_denominators, cut

register_segment_attention(NAME, segment_sdpa)
VOCAB = 320
EXAMPLES = random_examples("completion", 6, seed=11, vocab=VOCAB)


def kernels() -> list[object]:
    chunked = pytest.importorskip("anima_longctx.chunked_logps").ChunkedLogps
    return [plain_logps, chunked(chunk_tokens=7, chunk_vocab=50)]


KERNELS = pytest.mark.parametrize("kernel", [0, 1], ids=["plain", "xentropy"])


def table() -> list[torch.Tensor]:
    """A teacher's log-probs of every token at every example's targets, ``[T_i, V]``."""
    draw = torch.Generator().manual_seed(3)
    counts = [example.supervised for example in EXAMPLES]
    return [log_softmax(2 * torch.randn(n, VOCAB, generator=draw), dim=-1) for n in counts]


class Kl:
    """Forward KL from the table to the model, over the whole vocabulary: K = V."""

    data = "completion"
    needs = "topk"
    uses_reference = False

    def __init__(self, scope: str = "example") -> None:
        self.scope = scope
        self.teacher = table()

    def wanted(self, batch: Batch) -> torch.Tensor:
        return torch.arange(VOCAB).expand(len(batch.targets), VOCAB)

    def denominators(self, batch: Batch) -> dict[str, float]:
        return {"kl": float(len(batch.targets))}

    def __call__(
        self, batch: Batch, logps: torch.Tensor, reference: torch.Tensor | None = None
    ) -> LossOutput:
        teacher = torch.cat([self.teacher[row] for row in batch.rows])
        assert reference is None or reference.shape == batch.targets.shape
        total = (teacher.exp() * (teacher - logps)).sum()
        return LossOutput({"kl": total}, {"kl": (total.detach(), float(len(teacher)))})


class MeanKl(Kl):
    """The square of the step's mean: no example's share is its own."""

    def __init__(self) -> None:
        super().__init__("step")

    def denominators(self, batch: Batch) -> dict[str, float]:
        return {"kl": 1.0 / len(EXAMPLES) * batch.examples}

    def __call__(
        self, batch: Batch, logps: torch.Tensor, reference: torch.Tensor | None = None
    ) -> LossOutput:
        total = super().__call__(batch, logps, reference).totals["kl"]
        return LossOutput({"kl": (total / len(batch.targets)) ** 2})


class Few(Kl):
    """A few tokens a place, one of them twice, each with a slope of its own."""

    def wanted(self, batch: Batch) -> torch.Tensor:
        target = batch.targets
        return torch.stack([target, (target + 7) % VOCAB, (target * 3) % VOCAB, target], dim=1)

    def __call__(
        self, batch: Batch, logps: torch.Tensor, reference: torch.Tensor | None = None
    ) -> LossOutput:
        slopes = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=logps.dtype)
        return LossOutput({"kl": (logps * slopes).sum()})


def textbook(model: torch.nn.Module) -> list[torch.Tensor]:
    """Each example's log-probs of all tokens at its targets, run alone by the model's forward."""
    found = []
    for example in EXAMPLES:
        (segment,) = example.segments
        logits = model(input_ids=torch.tensor([segment.ids]), use_cache=False).logits[0].float()
        found.append(log_softmax(logits[:-1], dim=-1)[torch.tensor(segment.supervised[1:])])
    return found


def gradients(model: torch.nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def assert_same(got: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(got) == len(expected) > 0
    scale = max(float(e.abs().max()) for e in expected)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-6 * max(1.0, scale))


def step(model: torch.nn.Module, loss: Kl, kernel: object, micro_tokens: int) -> float:
    """One step's loss, its gradient left in the model."""
    model.zero_grad()
    module = LogpsModule(model, kernel, loss)  # type: ignore[arg-type]
    batches = cut(EXAMPLES, range(len(EXAMPLES)), micro_tokens)
    assert (len(batches) > 1) == (micro_tokens < 1000)
    denominators = add_denominators(loss, batches)  # type: ignore[arg-type]
    runner = StepRunner(module, loss, OneProcess(), 0, 0, 1)  # type: ignore[arg-type]
    return runner.backward(3, batches, denominators, None).loss(denominators)


@KERNELS
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("micro_tokens", [30, 10_000])
def test_the_gradient_is_that_of_a_kl_over_the_whole_softmax(
    family: str, kernel: int, micro_tokens: int
) -> None:
    packed = tiny_model(family, attn_implementation=NAME)  # type: ignore[arg-type]
    alone = tiny_model(family, attn_implementation="eager")  # type: ignore[arg-type]
    mine = step(packed, Kl(), kernels()[kernel], micro_tokens)
    theirs = kl_div(
        torch.cat(textbook(alone)), torch.cat(table()), log_target=True, reduction="sum"
    )
    theirs = theirs / sum(example.supervised for example in EXAMPLES)
    theirs.backward()
    assert mine == pytest.approx(theirs.item(), rel=1e-5)
    assert_same(gradients(packed), gradients(alone))


@KERNELS
def test_columns_keep_their_order_and_a_token_may_stand_twice(kernel: int) -> None:
    packed, alone = tiny_model(attn_implementation=NAME), tiny_model()
    mine = step(packed, Few(), kernels()[kernel], 10_000)
    logps = torch.cat(textbook(alone))
    target = torch.cat(
        [torch.tensor(e.segments[0].ids)[torch.tensor(e.segments[0].supervised)] for e in EXAMPLES]
    )
    columns = [(target, 4.0), ((target + 7) % VOCAB, -2.0), ((target * 3) % VOCAB, 0.5)]
    theirs = sum(slope * logps.gather(1, ids[:, None]).sum() for ids, slope in columns)
    theirs = theirs / len(target)
    theirs.backward()
    assert mine == pytest.approx(theirs.item(), rel=1e-5)
    assert_same(gradients(packed), gradients(alone))


@KERNELS
def test_a_loss_over_the_whole_step_does_not_see_the_cut(kernel: int) -> None:
    packed, alone = tiny_model(attn_implementation=NAME), tiny_model()
    mine = step(packed, MeanKl(), kernels()[kernel], 30)
    mean = kl_div(torch.cat(textbook(alone)), torch.cat(table()), log_target=True, reduction="sum")
    theirs = (mean / sum(example.supervised for example in EXAMPLES)) ** 2
    theirs.backward()
    assert mine == pytest.approx(theirs.item(), rel=1e-5)
    assert_same(gradients(packed), gradients(alone))


@pytest.mark.parametrize("make", [Kl, MeanKl])
@pytest.mark.parametrize("micro_tokens", [30, 10_000])
def test_evaluation_gives_the_same_loss(make: type[Kl], micro_tokens: int) -> None:
    loss = make()
    model = tiny_model(attn_implementation=NAME)
    module = LogpsModule(model, plain_logps, loss)  # type: ignore[arg-type]
    record = evaluate(
        module,
        loss,  # type: ignore[arg-type]
        EXAMPLES,
        None,
        device="cpu",
        micro_tokens=micro_tokens,
        batch_size=len(EXAMPLES),
    )
    with torch.no_grad():
        total = kl_div(torch.cat(textbook(tiny_model())), torch.cat(table()), log_target=True,
                       reduction="sum")  # fmt: skip
    mean = float(total) / sum(example.supervised for example in EXAMPLES)
    assert record["eval_loss"] == pytest.approx(mean if make is Kl else mean**2, rel=1e-5)
    if make is Kl:
        assert record["eval_kl"] == pytest.approx(mean, rel=1e-5)


def test_the_reference_is_of_the_targets_alone() -> None:
    """Neither the reference pass nor what a loss is handed of it knows of `wanted`."""

    class Unasked(Kl):
        uses_reference = True

        def wanted(self, batch: Batch) -> torch.Tensor:
            raise AssertionError("the reference pass asked the loss")

    model = tiny_model(attn_implementation=NAME)
    rows = range(len(EXAMPLES))
    module = LogpsModule(model, plain_logps, Unasked())  # type: ignore[arg-type]
    reference = reference_for(
        Asked(EXAMPLES, rows, {"made": "for test_topk"}, "cpu", tokens=40),
        lambda: lambda batch: module(batch, None, "targets"),
        SilentReporter(),
        SimpleNamespace(raise_if_asked=lambda: None),  # type: ignore[arg-type]
    )
    (batch,) = cut(EXAMPLES, rows, 10_000)
    known = reference.of(batch)
    assert known.shape == batch.targets.shape
    logps = textbook(tiny_model())
    expected = torch.cat([logps[row] for row in batch.rows]).gather(1, batch.targets[:, None])
    torch.testing.assert_close(known, expected[:, 0], rtol=1e-4, atol=1e-5)
    LogpsModule(model, plain_logps, Kl())(batch, known)  # type: ignore[arg-type]


def test_the_checks_of_a_loss_know_it() -> None:
    check_gradient(Few(), batch_of(EXAMPLES[:2]))  # type: ignore[arg-type]
    check_micro_batch_invariance(Few(), EXAMPLES)  # type: ignore[arg-type]

    class Half(Few):
        def __call__(
            self, batch: Batch, logps: torch.Tensor, reference: torch.Tensor | None = None
        ) -> LossOutput:
            mixed = torch.cat([logps[:, :1], logps[:, 1:].detach()], dim=1)
            return super().__call__(batch, mixed, reference)

    with pytest.raises(AssertionError, match="gradient by log-prob"):
        check_gradient(Half(), batch_of(EXAMPLES[:2]))  # type: ignore[arg-type]
