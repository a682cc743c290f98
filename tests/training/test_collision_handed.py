"""A loss that says ``collision = True`` is handed it everywhere, and any other loss nowhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from one_process import OneProcess

import anima_core
from anima_core.attention.sdpa import NAME, segment_sdpa
from anima_core.attention.segments import register_segment_attention
from anima_core.contracts import LossOutput
from anima_core.loss.plain import plain_logps
from anima_core.model.head import head_of, unwrap
from anima_core.runs.capabilities import kernel_problems
from anima_core.testing import batch_of, random_examples, tiny_model
from anima_core.testing.hooks import check_globals
from anima_core.training.evaluate import evaluate
from anima_core.training.module import LogpsModule
from anima_core.training.step import StepRunner, add_denominators, cut

register_segment_attention(NAME, segment_sdpa)
EXAMPLES = random_examples("completion", 6, seed=7, vocab=320)
WHOLE = batch_of(EXAMPLES)


class Aligned:
    """Each example's sum of log-probs, times the likelihood of its tokens by what is likely."""

    data, scope, needs, uses_reference, collision = "completion", "example", "logps", False, True

    def denominators(self, batch: Any) -> dict[str, float]:
        return {"aligned": float(batch.examples)}

    def __call__(
        self, batch: Any, logps: Any, reference: Any = None, *, collision: Any
    ) -> LossOutput:
        assert collision.shape == logps.shape
        assert collision.dtype == logps.dtype
        assert not collision.requires_grad
        weights = batch.per_example(logps.detach() - collision).exp()
        spread = (collision.sum(), float(len(collision)))
        return LossOutput({"aligned": -(weights * batch.per_example(logps)).sum()}, {"c": spread})


class AlignedStep(Aligned):
    """The same less its mean over the step: no example's share is its own."""

    scope = "step"

    def __call__(
        self, batch: Any, logps: Any, reference: Any = None, *, collision: Any
    ) -> LossOutput:
        weights = batch.per_example(logps.detach() - collision).exp()
        sums = weights * batch.per_example(logps)
        metrics = super().__call__(batch, logps, collision=collision).metrics
        return LossOutput({"aligned": ((sums - sums.mean()) ** 2).sum()}, metrics)


def kernels() -> list[Any]:
    chunked = pytest.importorskip("anima_longctx.chunked_logps").ChunkedLogps
    return [plain_logps, chunked(chunk_tokens=7, chunk_vocab=50)]


def trained_head() -> Any:
    """A model whose head is trained in full beside LoRA's factors, and differs from its base's."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"])
    model = tiny_model("qwen3", attn_implementation=NAME)
    adapted = peft.get_peft_model(model, config)
    noise = torch.randn(320, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.get_output_embeddings().weight.add_(noise, alpha=0.3)
    return adapted


def models() -> dict[str, Any]:
    made = {
        name: lambda name=name: tiny_model(name, attn_implementation=NAME)
        for name in ("llama", "qwen3", "gemma2")  # tied, untied, soft-capped
    }
    return made | {"trained head": trained_head}


def said(model: Any) -> torch.Tensor:
    """log sum p^2 at every target, by the model's own logits, each example alone."""
    found = []
    for example in EXAMPLES:
        (segment,) = example.segments
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([segment.ids]), use_cache=False).logits[0]
        squares = torch.softmax(logits[:-1].double(), dim=-1).pow(2).sum(dim=-1)
        found.append(squares.log()[torch.tensor(segment.supervised[1:])])
    return torch.cat(found)


def step(model: Any, loss: Any, kernel: Any, micro_tokens: int) -> tuple[float, list[torch.Tensor]]:
    """One step's loss, and its gradient."""
    model.zero_grad()
    batches = cut(EXAMPLES, range(len(EXAMPLES)), micro_tokens)
    assert (len(batches) > 1) == (micro_tokens < 1000)
    below = add_denominators(loss, batches)
    runner = StepRunner(LogpsModule(model, kernel, loss), loss, OneProcess(), 0, 0, 1)
    value = runner.backward(3, batches, below, None).loss(below)
    return value, [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("kernel", [0, 1], ids=["plain", "xentropy"])
@pytest.mark.parametrize("name", models())
def test_it_is_that_of_the_model_s_own_logits(name: str, kernel: int) -> None:
    model = models()[name]()
    assert head_of(unwrap(model)).weight.requires_grad
    handed = LogpsModule(model, kernels()[kernel], Aligned())(WHOLE, None, "handed")  # type: ignore[arg-type]
    assert handed[1].dtype == torch.float32
    torch.testing.assert_close(handed[1].double(), said(model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [Aligned, AlignedStep])
def test_neither_the_cut_nor_the_kernel_changes_a_step(make: type[Aligned]) -> None:
    model = tiny_model(attn_implementation=NAME)
    plain, chunked = kernels()
    value, gradient = step(model, make(), plain, 10_000)
    for kernel, tokens in ((plain, 30), (chunked, 30), (chunked, 10_000)):
        again, other = step(model, make(), kernel, tokens)
        assert again == pytest.approx(value, rel=1e-4)
        for a, b in zip(other, gradient, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * float(b.abs().max() + 1e-9))


@pytest.mark.parametrize("make", [Aligned, AlignedStep])
def test_held_out_data_is_judged_with_it(make: type[Aligned]) -> None:
    model = tiny_model(attn_implementation=NAME)
    loss: Any = make()
    record = evaluate(
        LogpsModule(model, plain_logps, loss),
        loss,
        EXAMPLES,
        None,
        device="cpu",
        micro_tokens=30,
        batch_size=len(EXAMPLES),
    )
    assert record["eval_c"] == pytest.approx(float(said(model).mean()), rel=1e-5)
    assert record["eval_loss"] == pytest.approx(step(model, loss, plain_logps, 30)[0], rel=1e-4)


def test_no_other_loss_is_given_it_nor_pays_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nobody asked for it")

    class Plain(Aligned):
        collision = False

        def __call__(self, batch: Any, logps: Any, reference: Any = None) -> LossOutput:  # type: ignore[override]
            return LossOutput({"aligned": -logps.sum()})

    monkeypatch.setattr("anima_core.training.module.log_collision", never)
    model = tiny_model(attn_implementation=NAME)
    step(model, Plain(), plain_logps, 30)
    with pytest.raises(AssertionError, match="nobody asked"):
        step(model, Aligned(), plain_logps, 30)


def test_the_second_pass_of_a_step_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []

    def counted(hidden: torch.Tensor, head: object) -> torch.Tensor:
        calls.append(torch.is_grad_enabled())
        return torch.zeros(len(hidden))

    monkeypatch.setattr("anima_core.training.module.log_collision", counted)
    step(tiny_model(attn_implementation=NAME), AlignedStep(), plain_logps, 30)
    assert calls == [False] * len(cut(EXAMPLES, range(len(EXAMPLES)), 30))


@pytest.mark.parametrize("needs", ["topk", "hidden"])
def test_it_goes_with_log_probs_of_the_targets_alone(needs: str) -> None:
    class Provider(SimpleNamespace):
        def __str__(self) -> str:
            return f"{self.strategy} (from dist-{self.strategy} 1.2)"

    core = {"strategy": "plain", "distribution": "anima-adapt"}
    providers = {"loss": Provider(strategy="mine"), "token_logps": Provider(**core)}
    selection: Any = SimpleNamespace(
        providers=providers, cls_attribute=lambda slot, name, default: default
    )
    loss: Any = Aligned()
    assert kernel_problems(selection, loss) == []
    loss.needs = needs
    loss.wanted = loss.places = len
    (problem,) = kernel_problems(selection, loss)
    assert problem.where == "--mine"
    assert f"mine (from dist-mine 1.2) says collision = True and needs '{needs}'" in problem.what


def test_the_kit_hands_it_over_where_it_calls_a_loss() -> None:
    class Strategy:
        api, summary, slots, requires, conflicts = 1, "A loss.", ("loss",), (), ()

        @anima_core.hookimpl
        def loss(self, run: object) -> Aligned:
            return Aligned()

    check_globals(Strategy())
