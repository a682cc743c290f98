"""A loss that needs ``topk``: what does not fit it is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from anima_core.attention.sdpa import NAME, segment_sdpa
from anima_core.attention.segments import register_segment_attention
from anima_core.batch import Batch
from anima_core.contracts import LossOutput
from anima_core.errors import SetupError
from anima_core.loss.plain import plain_logps
from anima_core.runs.capabilities import kernel_problems
from anima_core.runs.prepare import prepare
from anima_core.runs.reporter import SilentReporter
from anima_core.runs.request import RunRequest
from anima_core.testing import random_examples, save_tiny, tiny_model
from anima_core.training.module import LogpsModule
from anima_core.training.step import cut

register_segment_attention(NAME, segment_sdpa)
VOCAB = 320
EXAMPLES = random_examples("completion", 6, seed=11, vocab=VOCAB)


class Spread:
    """The mean log-prob of the whole vocabulary at every target: K = V."""

    data = "completion"
    needs = "topk"
    scope = "example"
    uses_reference = False

    def wanted(self, batch: Batch) -> torch.Tensor:
        return torch.arange(VOCAB).expand(len(batch.targets), VOCAB)

    def denominators(self, batch: Batch) -> dict[str, float]:
        return {"spread": float(len(batch.targets))}

    def __call__(
        self, batch: Batch, logps: torch.Tensor, reference: torch.Tensor | None = None
    ) -> LossOutput:
        return LossOutput({"spread": -logps.mean(dim=1).sum()})


def selection(gives: tuple[str, ...] | None) -> SimpleNamespace:
    """As much of a selection as `kernel_problems` looks at."""

    class Provider(SimpleNamespace):
        def __str__(self) -> str:
            return f"{self.strategy} (from dist-{self.strategy} 1.2)"

    providers = {"loss": Provider(strategy="kl"), "token_logps": Provider(strategy="fast")}
    return SimpleNamespace(
        providers=providers, cls_attribute=lambda slot, name, default: gives or default
    )


def test_a_kernel_that_cannot_give_it_is_refused_by_name() -> None:
    assert kernel_problems(selection(None), Spread()) == []  # type: ignore[arg-type]
    assert kernel_problems(selection(("topk",)), Spread()) == []  # type: ignore[arg-type]
    (problem,) = kernel_problems(selection(("logps",)), Spread())  # type: ignore[arg-type]
    assert problem.level == "error"
    assert problem.exit_code == 2
    assert "kl (from dist-kl 1.2) needs 'topk'" in problem.what
    assert "fast (from dist-fast 1.2) gives logps only" in problem.what


PLUGINS = """
import anima_core

class Kernel:
    api, summary, slots, requires, conflicts = 1, "A kernel.", ("token_logps",), (), ()
    gives = ("logps",)
    Options = anima_core.NoOptions
    def __init__(self, options): pass
    @anima_core.hookimpl
    def token_logps(self, run): return lambda hidden, head, target: None

class Many:
    api, summary, slots, requires, conflicts = 1, "A loss.", ("loss",), (), ()
    Options = anima_core.NoOptions
    def __init__(self, options): pass
    @anima_core.hookimpl
    def loss(self, run): return ManyLoss()

class ManyLoss:
    data, scope, needs, uses_reference = "completion", "example", "topk", False
    def wanted(self, batch): return batch.targets[:, None]
    def denominators(self, batch): return {"many": 1.0}
    def __call__(self, batch, logps, reference=None): return None
"""


def test_a_plan_refuses_it_before_a_weight_is_read(
    distribute: Callable[..., Path], tmp_path: Path, sft_file: Path
) -> None:
    distribute("fast-kernel", PLUGINS, {"fast": "Kernel", "many": "Many"}, "1.2")
    folder = save_tiny(tmp_path / "model")
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    core = {"model": str(folder), "data": [str(sft_file)], "dtype": "float32"}
    for named, refused in (({"many": {}, "fast": {}}, True), ({"many": {}}, False)):
        request = RunRequest(core=core, strategies=named)
        errors = prepare(request, reporter=SilentReporter()).plan.errors
        assert [error.where for error in errors] == ["--many --fast"] * refused
        if refused:
            assert "many (from fast-kernel 1.2)" in errors[0].what
            assert "fast (from fast-kernel 1.2)" in errors[0].what


def test_a_missing_wanted_is_refused() -> None:
    loss = SimpleNamespace(needs="topk")
    (problem,) = kernel_problems(selection(None), loss)  # type: ignore[arg-type]
    assert "`wanted`" in problem.what


BAD_KERNELS = {
    "flat": (lambda h, head, t: plain_logps(h, head, t)[:, 0], "not [{S}, 320] float32"),
    "half": (lambda h, head, t: plain_logps(h, head, t).bfloat16(), "[{S}, 320] bfloat16, not"),
    "nan": (lambda h, head, t: plain_logps(h, head, t) * float("nan"), "are not finite"),
    "none": (lambda h, head, t: None, "a NoneType, not"),
}


@pytest.mark.parametrize("name", BAD_KERNELS)
def test_a_kernel_that_hands_over_something_else_is_named(name: str) -> None:
    kernel, words = BAD_KERNELS[name]
    (batch,) = cut(EXAMPLES, range(len(EXAMPLES)), 10_000)
    module = LogpsModule(
        tiny_model(attn_implementation=NAME),
        kernel,  # type: ignore[arg-type]
        Spread(),  # type: ignore[arg-type]
        kernel_name="fast (from dist 1.2)",
    )
    with pytest.raises(SetupError) as caught:
        module(batch)
    assert caught.value.where == "fast (from dist 1.2)"
    assert words.replace("{S}", str(len(batch.targets))) in caught.value.what


def test_a_model_that_is_not_finite_is_not_blamed_on_the_kernel() -> None:
    model = tiny_model(attn_implementation=NAME)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(float("nan"))
    (batch,) = cut(EXAMPLES, range(len(EXAMPLES)), 10_000)
    output = LogpsModule(model, plain_logps, Spread())(batch)  # type: ignore[arg-type]
    assert not output.totals["spread"].isfinite()


BAD_WANTED = {
    "flat": (lambda b: b.targets, "[{S}] int64, not [{S}, K] int64"),
    "short": (lambda b: b.targets[1:, None], "not [{S}, K] int64"),
    "empty": (lambda b: b.targets[:, None][:, :0], "[{S}, 0] int64, not"),
    "int32": (lambda b: b.targets[:, None].int(), "int32, not"),
    "beyond": (lambda b: b.targets[:, None] + VOCAB, "0 to 319"),
    "below": (lambda b: b.targets[:, None] - VOCAB - 1, "0 to 319"),
    "a list": (lambda b: b.targets.tolist(), "a list, not"),
}


@pytest.mark.parametrize("name", BAD_WANTED)
def test_a_loss_that_wants_nonsense_is_named(name: str) -> None:
    wanted, words = BAD_WANTED[name]
    loss = Spread()
    loss.wanted = wanted  # type: ignore[method-assign]
    (batch,) = cut(EXAMPLES, range(len(EXAMPLES)), 10_000)
    module = LogpsModule(
        tiny_model(attn_implementation=NAME),
        plain_logps,
        loss,  # type: ignore[arg-type]
        loss_name="kl (from dist 1.2)",
    )
    with pytest.raises(SetupError) as caught:
        module(batch)
    assert caught.value.where == "kl (from dist 1.2)"
    assert words.replace("{S}", str(len(batch.targets))) in caught.value.what
