"""WPO from a model down: by its own softmax over the vocabulary, however a step is computed."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from anima_dpo.loss import make_loss
from anima_dpo.options import DpoOptions

from anima_core import Role, register_segment_attention, segment_sdpa
from anima_core.loss.plain import plain_logps
from anima_core.testing import random_examples, tiny_model
from anima_core.training.module import LogpsModule
from anima_core.training.step import StepRunner, add_denominators, cut

NAME = "test_wpo"
EXAMPLES = random_examples("preference", 5, seed=6, weighted=True)
BETA = 0.3


class Accelerate:
    """As much of it as a step in one process needs."""

    scaler = None

    def backward(self, loss):
        loss.backward()

    def no_sync(self, module):
        return nullcontext()


class Zeros:
    """A reference that finds every token certain."""

    def of(self, batch):
        return torch.zeros(len(batch.targets))


def kernels():
    chunked = pytest.importorskip("anima_longctx.chunked_logps").ChunkedLogps
    return {"plain": plain_logps, "xentropy": chunked(chunk_tokens=7, chunk_vocab=50)}


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def textbook(model):
    """The step's loss, each answer behind its prompt and alone, by float64 probabilities."""
    total = below = 0.0
    for example in EXAMPLES:
        prompt, *answers = example.segments
        said, weight = {}, 1.0
        for answer in answers:
            ids = torch.tensor([prompt.ids + answer.ids])
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1].double()
            chances = torch.softmax(logits, dim=-1)[len(prompt.ids) - 1 :]
            taught = torch.tensor(answer.supervised)
            own = chances.gather(1, torch.tensor(answer.ids)[:, None])[taught, 0]
            common = chances.pow(2).sum(dim=-1)[taught]
            weight *= float((own / common).detach().prod()) ** (1 / len(own))
            said[answer.role] = own.log().sum()
        margin = BETA * (said[Role.CHOSEN] - said[Role.REJECTED])
        total = total - example.weight * weight * torch.sigmoid(margin).log()
        below += example.weight
    return total / below


@pytest.mark.parametrize("kernel", ["plain", "xentropy"])
@pytest.mark.parametrize("micro_tokens", [40, 10_000])
@pytest.mark.parametrize("family", ["llama", "gemma2"])  # without and with a soft-cap
def test_a_step_is_the_textbook_s(family, micro_tokens, kernel):
    register_segment_attention(NAME, segment_sdpa)
    alone = tiny_model(family)
    expected = textbook(alone)
    expected.backward()
    model = tiny_model(family, attn_implementation=NAME)
    loss = make_loss(DpoOptions(beta=BETA, wpo=True))
    batches = cut(EXAMPLES, range(len(EXAMPLES)), micro_tokens)
    assert (len(batches) > 1) == (micro_tokens == 40)
    below = add_denominators(loss, batches)
    runner = StepRunner(LogpsModule(model, kernels()[kernel], loss), loss, Accelerate(), 0, 0, 1)
    tally = runner.backward(1, batches, below, Zeros())
    assert tally.loss(below) == pytest.approx(float(expected.detach()), rel=1e-4)
    assert tally.means()["wpo_weight"] > 0
    theirs = gradients(alone)
    for name, gradient in gradients(model).items():
        error = float((gradient - theirs[name]).norm() / theirs[name].norm())
        assert error < 1e-4, f"the gradient of {name} is off by {error:.1e}"
