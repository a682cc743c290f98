"""A loss that needs ``hidden``: last hidden states of some tokens, and a head of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from one_process import OneProcess

from anima_core.attention.sdpa import NAME, segment_sdpa
from anima_core.attention.segments import register_segment_attention
from anima_core.batch import Batch
from anima_core.contracts import LossOutput
from anima_core.errors import SetupError, UsageError
from anima_core.loss.plain import plain_logps
from anima_core.runs.capabilities import kernel_problems
from anima_core.testing import batch_of, random_examples, tiny_model
from anima_core.training.evaluate import evaluate
from anima_core.training.heads import (
    head_bytes,
    head_file,
    load_head,
    make_head,
    projection_idle,
    with_head,
)
from anima_core.training.module import LogpsModule
from anima_core.training.step import StepRunner, add_denominators, cut

register_segment_attention(NAME, segment_sdpa)
EXAMPLES = random_examples("completion", 6, seed=11, vocab=320)


class Ends:
    """The squared score of each example's last token; over a step, less the step's mean."""

    data = "completion"
    needs = "hidden"
    uses_reference = False

    def __init__(self, scope: str = "example") -> None:
        self.scope = scope
        self.score: torch.nn.Linear | None = None

    def head(self, hidden_size: int) -> torch.nn.Module:
        self.score = torch.nn.Linear(hidden_size, 1)
        return self.score

    def places(self, batch: Batch) -> torch.Tensor:
        return torch.tensor([segment.stop - 1 for segment in batch.layout])

    def denominators(self, batch: Batch) -> dict[str, float]:
        return {"ends": float(batch.examples)}

    def __call__(
        self, batch: Batch, hidden: torch.Tensor, reference: torch.Tensor | None = None
    ) -> LossOutput:
        assert reference is None
        assert self.score is not None
        scores = self.score(hidden)[:, 0]
        if self.scope == "step":
            scores = scores - scores.mean()
        return LossOutput({"ends": (scores**2).sum()}, {"score": (scores.detach().sum(), 1.0)})


def made(loss: Ends, family: str = "llama", **config: object) -> LogpsModule:
    model = tiny_model(family, attn_implementation=NAME, **config)  # type: ignore[arg-type]
    head = make_head(loss, 64, seed=5, device="cpu", name="ends")  # type: ignore[arg-type]
    return LogpsModule(model, plain_logps, loss, head=head, loss_name="ends")  # type: ignore[arg-type]


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def step(module: LogpsModule, loss: Ends, micro_tokens: int) -> float:
    """One step's loss, its gradient left in the parameters."""
    module.zero_grad()
    batches = cut(EXAMPLES, range(len(EXAMPLES)), micro_tokens)
    assert (len(batches) > 1) == (micro_tokens < 1000)
    denominators = add_denominators(loss, batches)  # type: ignore[arg-type]
    runner = StepRunner(module, loss, OneProcess(), 0, 0, 1)  # type: ignore[arg-type]
    return runner.backward(3, batches, denominators, None).loss(denominators)


def textbook(loss: Ends, family: str) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient, each example run alone by the model's own forward."""
    module = made(loss, family)
    model = tiny_model(family, attn_implementation="eager")  # type: ignore[arg-type]
    ends = []
    for example in EXAMPLES:
        ids = torch.tensor([example.segments[0].ids])
        output = model(input_ids=ids, output_hidden_states=True, use_cache=False)
        ends.append(output.hidden_states[-1][0, -1])
    assert loss.score is not None
    scores = loss.score(torch.stack(ends))[:, 0]
    if loss.scope == "step":
        scores = scores - scores.mean()
    value = (scores**2).mean()
    value.backward()
    assert module.head is not None
    found = {f"model.{n}": g for n, g in gradients(model).items()}
    return value.item(), found | {f"head.{n}": g for n, g in gradients(module.head).items()}


@pytest.mark.parametrize("scope", ["example", "step"])
@pytest.mark.parametrize("micro_tokens", [30, 10_000])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_gradient_is_that_of_each_sequence_alone(
    family: str, micro_tokens: int, scope: str
) -> None:
    loss = Ends(scope)
    value, expected = textbook(loss, family)
    module = made(loss, family)
    assert step(module, loss, micro_tokens) == pytest.approx(value, rel=1e-5)
    got = gradients(module)
    assert got.keys() == expected.keys()
    assert {"head.weight", "head.bias"} < got.keys()
    scale = max(float(e.abs().max()) for e in expected.values())
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=2e-6 * max(1, scale))


@pytest.mark.parametrize("scope", ["example", "step"])
def test_evaluation_gives_the_same_loss(scope: str) -> None:
    loss = Ends(scope)
    value, _ = textbook(loss, "llama")
    module = made(loss)
    record = evaluate(
        module,
        loss,  # type: ignore[arg-type]
        EXAMPLES,
        None,
        device="cpu",
        micro_tokens=30,
        batch_size=len(EXAMPLES),
    )
    assert record["eval_loss"] == pytest.approx(value, rel=1e-5)


def test_it_is_given_float32_and_its_head_computes_in_it() -> None:
    seen: list[torch.dtype] = []

    class Watching(Ends):
        def __call__(
            self, batch: Batch, hidden: torch.Tensor, reference: torch.Tensor | None = None
        ) -> LossOutput:
            assert self.score is not None
            seen.extend((hidden.dtype, self.score(hidden).dtype))
            return super().__call__(batch, hidden, reference)

    loss = Watching()
    module = made(loss, dtype="bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        module(batch_of(EXAMPLES[:1]))
    assert seen == [torch.float32, torch.float32]


BAD_PLACES = {
    "floats": (torch.tensor([0.0]), r"\[1\] float32, not \[M\] int64"),
    "table": (torch.tensor([[0]]), r"\[1, 1\] int64, not \[M\]"),
    "list": ([0], "a list, not"),
    "below": (torch.tensor([-1, 0]), "asked for token -1"),
    "above": (torch.tensor([10_000]), "asked for token 10000"),
    "falling": (torch.tensor([1, 0]), "not ascending"),
    "twice": (torch.tensor([1, 1]), "not ascending"),
}


@pytest.mark.parametrize("case", BAD_PLACES)
def test_places_that_are_none_are_told(case: str) -> None:
    places, said = BAD_PLACES[case]
    loss = Ends()
    module = made(loss)
    loss.places = lambda batch: places  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(SetupError, match=said) as caught:
        module(batch_of(EXAMPLES[:2]))
    assert caught.value.where == "ends"


def test_a_head_is_the_seed_s_and_must_have_something_to_train() -> None:
    first, again, other = (
        make_head(Ends(), 64, seed=seed, device="cpu", name="ends")  # type: ignore[arg-type]
        for seed in (5, 5, 6)
    )
    assert first is not None and again is not None and other is not None  # noqa: PT018
    assert torch.equal(first.weight, again.weight)  # type: ignore[arg-type]
    assert not torch.equal(first.weight, other.weight)  # type: ignore[arg-type]
    for bad, said in ((7, "a int, not"), (torch.nn.Identity(), "no parameter to train")):
        loss = Ends()
        loss.head = lambda size, bad=bad: bad  # type: ignore[method-assign,misc]
        with pytest.raises(SetupError, match=said):
            make_head(loss, 64, seed=5, device="cpu", name="ends")  # type: ignore[arg-type]


def test_the_plan_counts_it_without_a_weight() -> None:
    assert head_bytes(Ends(), 64) == 16 * 65  # type: ignore[arg-type]
    assert head_bytes(SimpleNamespace(needs="hidden"), 64) == 0
    assert head_bytes(SimpleNamespace(needs="logps"), 64) == 0


def test_a_head_is_saved_beside_what_the_adapter_saves(tmp_path: Path) -> None:
    from anima_core.model.full import Full
    from anima_core.strategy import NoOptions
    from anima_core.testing import run_context

    def adapted(seed: int) -> tuple[torch.nn.Module, object]:
        adapter = Full(NoOptions()).adapt_model(run_context(), tiny_model())
        head = make_head(Ends(), 64, seed=seed, device="cpu", name="ends")  # type: ignore[arg-type]
        assert head is not None
        return head, with_head(adapter, head)

    head, adapter = adapted(1)
    assert adapter.trainable["head.weight"] is head.weight  # type: ignore[attr-defined]
    adapter.save(tmp_path)  # type: ignore[attr-defined]
    other, reader = adapted(2)
    assert not torch.equal(head.weight, other.weight)  # type: ignore[arg-type]
    reader.load(tmp_path)  # type: ignore[attr-defined]
    assert torch.equal(head.weight, other.weight)  # type: ignore[arg-type]
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} == {".safetensors", ".json"}
    with pytest.raises(UsageError, match="size mismatch"):
        load_head(torch.nn.Linear(8, 1), tmp_path)
    head_file(tmp_path).unlink()
    with pytest.raises(UsageError, match="not the head of this loss"):
        reader.load(tmp_path)  # type: ignore[attr-defined]


@pytest.mark.parametrize("tied", [True, False])
def test_a_projection_that_is_trained_for_nothing_is_known(tied: bool) -> None:
    from anima_core.model.full import Full
    from anima_core.strategy import NoOptions
    from anima_core.testing import run_context

    model = tiny_model(tie_word_embeddings=tied)
    adapter = Full(NoOptions()).adapt_model(run_context(), model)
    assert projection_idle(adapter, Ends()) is not tied  # type: ignore[arg-type]
    assert not projection_idle(adapter, SimpleNamespace(needs="logps"))
    model.requires_grad_(False)
    assert not projection_idle(adapter, Ends())  # type: ignore[arg-type]


def selection(strategy: str, distribution: str) -> SimpleNamespace:
    """As much of a selection as `kernel_problems` looks at."""

    class Provider(SimpleNamespace):
        def __str__(self) -> str:
            return f"{self.strategy} (from {self.distribution} 1.2)"

    providers = {
        "loss": Provider(strategy="ends", distribution="mine"),
        "token_logps": Provider(strategy=strategy, distribution=distribution),
    }
    return SimpleNamespace(providers=providers, cls_attribute=lambda slot, name, default: default)


def test_a_kernel_beside_it_would_do_nothing_and_is_refused_by_name() -> None:
    assert kernel_problems(selection("plain", "anima-adapt"), Ends()) == []  # type: ignore[arg-type]
    for other in (("fast", "theirs"), ("plain", "theirs")):
        (problem,) = kernel_problems(selection(*other), Ends())  # type: ignore[arg-type]
        assert problem.level == "error"
        assert problem.where == f"--ends --{other[0]}"
        assert f"ends (from mine 1.2) takes hidden states and no log-probs, so {other[0]} (from theirs" in problem.what  # noqa: E501  # fmt: skip


def test_a_reference_or_missing_places_are_refused() -> None:
    loss = Ends()
    loss.uses_reference = True
    loss.places = None  # type: ignore[method-assign,assignment]
    problems = kernel_problems(selection("plain", "anima-adapt"), loss)  # type: ignore[arg-type]
    assert [p.what.split(", ")[0] for p in problems] == [
        "ends (from mine 1.2) wants reference log-probs",
        "ends (from mine 1.2) needs 'hidden'",
    ]
