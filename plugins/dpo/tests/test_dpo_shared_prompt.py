"""A prompt that its answers share against the same prompt repeated for each: loss and gradients.

One prompt is long enough for the attention's blocks without a mask, the others are short.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from anima_dpo.cpo.loss import CpoLoss
from anima_dpo.facts import FACTS, NAMES
from anima_dpo.kto.loss import KtoLoss
from anima_dpo.kto.strategy import KtoOptions
from anima_dpo.loss import make_loss
from anima_dpo.options import DpoOptions
from anima_dpo.orpo.loss import OrpoLoss
from anima_dpo.reward.loss import RewardLoss
from anima_dpo.simpo.loss import SimpoLoss

from anima_core import EncodedExample, Role, TokenSegment, register_segment_attention, segment_sdpa
from anima_core.loss.plain import plain_logps
from anima_core.testing import batch_of, random_examples, tiny_model
from anima_core.training.module import LogpsModule

NAME = "test_shared_prompt"
LONG_PROMPT = 270


def dpo(name, **options):
    smoothing = {"label_smoothing": 0.1} if name in FACTS and FACTS[name].smoothing else {}
    return lambda: make_loss(DpoOptions(loss=name, **smoothing, **options))


LOSSES = {
    **{name: dpo(name) for name in NAMES},
    "several": dpo("sigmoid,sft", rpo_alpha=0.5),
    "by length": dpo("sigmoid", length_normalised=True, ld_alpha=0.4),
    "wpo": dpo("sigmoid", wpo=True),
    "js_divergence": dpo("sigmoid", f_divergence="js_divergence"),
    "kto": KtoLoss,
    "apo_zero_unpaired": lambda: KtoLoss(KtoOptions(loss="apo_zero_unpaired")),
    "orpo": OrpoLoss,
    "simpo": SimpoLoss,
    "cpo": CpoLoss,
    "reward": RewardLoss,
}
"""What makes each loss: another one is tested by a line here."""


@pytest.fixture(scope="module", params=["lora", "full"])
def policy(request):
    """A model of which LoRA's factors are trained, or everything."""
    register_segment_attention(NAME, segment_sdpa)
    model = tiny_model("llama", attn_implementation=NAME)
    if request.param == "full":
        return model.train()
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    return peft.get_peft_model(model, config).train()


def examples_for(loss):
    """Examples of the kind that a loss wants, the last with a long prompt."""
    mismatched = getattr(loss, "mismatched", False)
    made = random_examples(loss.data, 4, seed=3, weighted=True, mismatched=mismatched)
    generator = torch.Generator().manual_seed(4)

    def ids(count):
        return tuple(torch.randint(320, (count,), generator=generator).tolist())

    roles = [Role.CHOSEN, Role.REJECTED if loss.data == "preference" else Role.MISMATCHED]
    answers = [
        TokenSegment(ids(size), (True,) * size, role, parent=0)
        for role, size in zip(roles, (11, 17), strict=True)
    ]
    if loss.data == "unpaired" and not mismatched:
        answers.pop()
    prompt = TokenSegment(ids(LONG_PROMPT), (False,) * LONG_PROMPT, Role.PROMPT)
    return [*made, EncodedExample((prompt, *answers))]


def repeated(example):
    """The example with its prompt before every answer."""
    prompt, *answers = example.segments
    roots = [
        replace(
            answer, ids=prompt.ids + answer.ids, supervised=prompt.supervised + answer.supervised
        )
        for answer in answers
    ]
    return replace(example, segments=tuple(replace(root, parent=-1) for root in roots))


def learnt(model, make, batch):
    """The loss of a batch, and its gradient by every trained parameter."""
    loss, head = make(), None
    if loss.needs == "hidden":
        head = loss.head(model.config.hidden_size)
        for index, parameter in enumerate(head.parameters()):
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(index))
    module = LogpsModule(model, plain_logps, loss, head=head)
    generator = torch.Generator().manual_seed(5)
    reference = torch.rand(len(batch.targets), generator=generator) - 6.5
    output = module(batch, reference if loss.uses_reference else None)
    below = loss.denominators(batch)
    value = torch.stack([total / below[name] for name, total in output.totals.items()]).sum()
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(value, list(trained.values()))
    return value.detach(), dict(zip(trained, grads, strict=True))


@pytest.mark.parametrize("name", LOSSES)
def test_a_shared_prompt_teaches_what_a_repeated_one_does(policy, name):
    make = LOSSES[name]
    examples = examples_for(make())
    shared = batch_of(examples)
    apart = batch_of([repeated(example) for example in examples])
    assert len(apart.layout) < len(shared.layout)
    assert torch.equal(shared.targets, apart.targets)
    found, expected = (learnt(policy, make, batch) for batch in (shared, apart))
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=0)
    for name_, gradient in expected[1].items():
        largest = gradient.abs().max()
        assert largest > 0, f"{name_} learns nothing"
        error = float((found[1][name_] - gradient).abs().max() / largest)
        assert error <= 1e-5, f"the gradient of {name_} differs: relative error {error:.1e}"


def test_checkpointed_gradients_are_the_same_bits(policy):
    make = LOSSES["sigmoid"]
    batch = batch_of(examples_for(make()))
    plain = learnt(policy, make, batch)
    inner = policy.get_base_model() if hasattr(policy, "get_base_model") else policy
    inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    again = learnt(policy, make, batch)
    inner.gradient_checkpointing_disable()
    assert torch.equal(plain[0], again[0])
    assert all(torch.equal(gradient, again[1][name]) for name, gradient in plain[1].items())
