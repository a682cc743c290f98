"""A loss over the whole step: its gradient does not depend on the micro-batches."""

from __future__ import annotations

import pytest
import torch
from one_process import OneProcess

from anima_core.attention.sdpa import NAME, segment_sdpa
from anima_core.attention.segments import register_segment_attention
from anima_core.batch import EncodedExample, Role
from anima_core.contracts import LossOutput
from anima_core.loss.plain import plain_logps
from anima_core.testing import random_examples, tiny_model
from anima_core.training.evaluate import evaluate
from anima_core.training.module import LogpsModule
from anima_core.training.seeding import seed_step
from anima_core.training.step import StepRunner, add_denominators, cut, join


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
        tally = StepRunner(module, loss, OneProcess(), 0, 0, 1).backward(
            3, batches, denominators, None
        )
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


class Compared:
    """Each answer against the mean of the mismatched ones, which has no gradient, as KTO has it."""

    data = "unpaired"
    scope = "step"
    needs = "logps"
    uses_reference = False
    mismatched = True

    def __init__(self, *, idle: tuple[int, ...] = ()) -> None:
        self.idle = idle

    def denominators(self, batch):  # type: ignore[no-untyped-def]
        return {"compared": float(batch.weights.sum())}

    def __call__(self, batch, logps, reference=None):  # type: ignore[no-untyped-def]
        others = batch.per_example(logps.detach(), Role.MISMATCHED).mean()
        own = sum(batch.per_example(logps, role) for role in (Role.CHOSEN, Role.REJECTED))
        idle = torch.tensor([float(row not in self.idle) for row in batch.rows])
        losses = idle * batch.weights * torch.sigmoid((own - others) / 10)
        return LossOutput({"compared": losses.sum()})


@pytest.mark.parametrize("micro_tokens", [40, 10_000])
@pytest.mark.parametrize(
    ("idle", "dropout"),
    [((), 0.0), ((1, 4), 0.0), ((0, 1, 2, 3, 4, 5), 0.0), ((1, 4), 0.3)],
    ids=["mismatched", "examples", "all", "dropout"],
)
def test_the_second_pass_leaves_out_what_has_no_slope(
    idle: tuple[int, ...], dropout: float, micro_tokens: int
) -> None:
    register_segment_attention(NAME, segment_sdpa)
    examples = random_examples("unpaired", 6, seed=5, vocab=320, weighted=True, mismatched=True)
    model = tiny_model("gpt2", attn_implementation=NAME, resid_pdrop=dropout).train()
    loss = Compared(idle=idle)
    module = LogpsModule(model, plain_logps, loss)
    batches = cut(examples, range(6), micro_tokens)
    below = add_denominators(loss, batches)
    seen: list[tuple[bool, int]] = []
    module.register_forward_pre_hook(
        lambda _, given: seen.append((torch.is_grad_enabled(), given[0].tokens))
    )
    tally = StepRunner(module, loss, OneProcess(), 0, 0, 1).backward(3, batches, below, None)
    found = [p.grad.clone() for p in model.parameters()]

    first, second = (sum(n for grad, n in seen if grad is which) for which in (False, True))
    assert first == tally.tokens == sum(example.tokens for example in examples)
    needed = sum(
        len(segment.ids)
        for row, example in enumerate(examples)
        for segment in example.segments
        if row not in idle and segment.role != Role.MISMATCHED
    )
    if dropout:
        assert second == first
    elif len(idle) == 6:
        assert second == batches[0].tokens
        assert not any(grad.any() for grad in found)
    else:
        assert second == needed < first
    # The same derivative by one graph over all of it, under the same dropout.
    model.zero_grad()
    parts = []
    for index, batch in enumerate(batches):
        seed_step(0, 3 * 1_000_003 + index, 0)
        parts.append(module(batch, None, "logps"))
    whole = join(batches)
    (loss(whole, torch.cat(parts)).totals["compared"] / below["compared"]).backward()
    for got, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad, rtol=1e-5, atol=1e-6)


class Scored:
    """A spread of hidden states, at places that go by the whole batch."""

    data = "completion"
    scope = "step"
    needs = "hidden"
    uses_reference = False

    def places(self, batch):  # type: ignore[no-untyped-def]
        return torch.arange(0, batch.tokens, 7)

    def denominators(self, batch):  # type: ignore[no-untyped-def]
        return {"scored": float(batch.examples)}

    def __call__(self, batch, hidden, reference=None):  # type: ignore[no-untyped-def]
        some = hidden[: len(hidden) // 2]  # the others have no slope
        return LossOutput({"scored": ((some - some.mean(0).detach()) ** 2).sum()})


def test_a_loss_that_names_tokens_is_asked_about_whole_batches_both_times() -> None:
    register_segment_attention(NAME, segment_sdpa)
    examples = random_examples("completion", 6, seed=5, vocab=320)
    model = tiny_model("gpt2", attn_implementation=NAME, resid_pdrop=0.0).train()
    loss = Scored()
    module = LogpsModule(model, plain_logps, loss)
    batches = cut(examples, range(6), 30)
    below = add_denominators(loss, batches)
    seen: list[int] = []
    module.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].tokens if torch.is_grad_enabled() else 0)
    )
    StepRunner(module, loss, OneProcess(), 0, 0, 1).backward(3, batches, below, None)
    assert sum(seen) == sum(example.tokens for example in examples)
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    hidden = torch.cat([module(batch, None, "logps") for batch in batches])
    (loss(join(batches), hidden).totals["scored"] / below["scored"]).backward()
    for got, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["dynamic", "default"])
def test_nothing_is_left_out_that_sets_how_positions_are_encoded(kind: str) -> None:
    """Dynamic RoPE goes by the longest sequence of a pass, which may be one without a slope."""
    register_segment_attention(NAME, segment_sdpa)
    rope = {"rope_type": kind, "rope_theta": 1e4} | ({"factor": 4.0} if kind == "dynamic" else {})
    model = tiny_model(
        "llama", attn_implementation=NAME, max_position_embeddings=4, rope_parameters=rope
    ).train()
    examples = random_examples("unpaired", 8, seed=5, vocab=320, mismatched=True)
    rows = [row for row in range(8) if ends_with_longest(examples[row])]
    assert rows
    loss = Compared(idle=())
    module = LogpsModule(model, plain_logps, loss)
    batches = cut(examples, rows, 1)
    below = add_denominators(loss, batches)
    seen: list[int] = []
    module.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].tokens if torch.is_grad_enabled() else 0)
    )
    StepRunner(module, loss, OneProcess(), 0, 0, 1).backward(3, batches, below, None)
    whole = sum(batch.tokens for batch in batches)
    assert sum(seen) == whole if kind == "dynamic" else sum(seen) < whole
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    logps = torch.cat([module(batch, None, "logps") for batch in batches])
    (loss(join(batches), logps).totals["compared"] / below["compared"]).backward()
    for got, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad, rtol=1e-5, atol=1e-6)


def ends_with_longest(example: EncodedExample) -> bool:
    """Whether the answer to another prompt is the longer one."""
    _, own, *others = example.segments
    return any(len(other.ids) > len(own.ids) for other in others)


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
