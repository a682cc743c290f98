"""A loss over the whole step: its gradient does not depend on the micro-batches."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from anima_core.attention.sdpa import NAME, segment_sdpa
from anima_core.attention.segments import register_segment_attention
from anima_core.contracts import LossOutput
from anima_core.loss.plain import plain_logps
from anima_core.testing import random_examples, tiny_model
from anima_core.training.evaluate import evaluate
from anima_core.training.module import LogpsModule
from anima_core.training.step import StepRunner, add_denominators, cut


class Spread:
    """The variance of the examples' log-probs: no example's share is its own."""

    data = "completion"
    scope = "step"
    needs = "logps"
    uses_reference = False

    def denominators(self, batch):  # type: ignore[no-untyped-def]
        return {"spread": float(batch.examples)}

    def __call__(self, batch, logps, reference=None):  # type: ignore[no-untyped-def]
        sums = batch.per_example(logps)
        spread = ((sums - sums.mean()) ** 2).sum()
        return LossOutput({"spread": spread}, {"steps": (float(batch.examples), 1.0)})


class Plain:
    """As much of Accelerate as a step in one process needs."""

    scaler = None

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def no_sync(self, module: object):  # type: ignore[no-untyped-def]
        return nullcontext()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient_is_that_of_one_batch(dropout: float) -> None:
    register_segment_attention(NAME, segment_sdpa)
    examples = random_examples("completion", 6, seed=5, vocab=320)
    model = tiny_model("gpt2", attn_implementation=NAME, resid_pdrop=dropout).train()
    loss = Spread()
    module = LogpsModule(model, plain_logps, loss)

    def run(micro_tokens: int) -> tuple[float, list[torch.Tensor]]:
        model.zero_grad()
        batches = cut(examples, range(6), micro_tokens)
        denominators = add_denominators(loss, batches)
        tally = StepRunner(module, loss, Plain(), 0, 0, 1).backward(3, batches, denominators, None)
        return tally.loss(denominators), [p.grad.clone() for p in model.parameters()]

    many_loss, many = run(30)
    again_loss, again = run(30)
    assert many_loss == again_loss
    assert all(torch.equal(a, b) for a, b in zip(many, again, strict=True))
    if dropout == 0:
        one_loss, one = run(10_000)
        assert many_loss == pytest.approx(one_loss, rel=1e-5)
        for a, b in zip(many, one, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max() + 1))


@pytest.mark.parametrize("micro_tokens", [30, 10_000])
@pytest.mark.parametrize("batch_size", [4, 7, 100])
def test_evaluation_sees_steps_as_training_does(batch_size: int, micro_tokens: int) -> None:
    """Not all that is held out at once, which is another loss, and more memory."""
    register_segment_attention(NAME, segment_sdpa)
    examples = random_examples("completion", 7, seed=5, vocab=320)
    model = tiny_model("gpt2", attn_implementation=NAME)
    loss = Spread()
    module = LogpsModule(model, plain_logps, loss)
    seen: list[tuple[int, ...]] = []
    judge = module.judge

    def watched(batch, *rest):  # type: ignore[no-untyped-def]
        seen.append(batch.rows)
        return judge(batch, *rest)

    module.judge = watched  # type: ignore[method-assign]

    def record() -> dict[str, float]:
        return evaluate(
            module,
            loss,
            examples,
            None,
            device="cpu",
            micro_tokens=micro_tokens,
            batch_size=batch_size,
        )

    found = record()
    steps = list(seen)
    assert [len(rows) for rows in steps] == ([4, 3] if batch_size == 4 else [7])
    assert sorted(row for rows in steps for row in rows) == list(range(7))
    sums = torch.stack(
        [module(cut(examples, [n], 10_000)[0], None, "logps").sum() for n in range(7)]
    )
    total = sum(
        float(((own - own.mean()) ** 2).sum().detach())
        for own in (sums[list(rows)] for rows in steps)
    )
    assert found["eval_loss"] == pytest.approx(total / 7, rel=1e-4)
    assert found["eval_steps"] == 7 / len(steps)
    assert record() == found
    assert seen[len(steps) :] == steps
