"""One process among several: its device, its share, what it hears, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from one_process import OneProcess

from anima_core.attention.sdpa import NAME, segment_sdpa
from anima_core.attention.segments import register_segment_attention
from anima_core.contracts import Attention, LossOutput
from anima_core.errors import AnimaError, InterruptedRunError, UsageError
from anima_core.loss.plain import plain_logps
from anima_core.loss.sft import SftLoss
from anima_core.runs.capabilities import capability_problems
from anima_core.runs.folder import RunFolder
from anima_core.runs.reporter import SilentReporter, main_reporter
from anima_core.testing import batch_of, random_examples, run_context, tiny_config, tiny_model
from anima_core.training import loop, signals, talk
from anima_core.training.accelerator import has_experts
from anima_core.training.module import LogpsModule
from anima_core.training.ranks import device_of_rank
from anima_core.training.signals import StopSignal
from anima_core.training.step import StepRunner, Tally

Others = Callable[..., None]


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def other_says(second_of_two: None, monkeypatch: pytest.MonkeyPatch) -> Others:
    """Make the first process say something the next time that processes talk."""

    def says(value: Any) -> None:
        for module in (talk, loop, signals):
            monkeypatch.setattr(module, "exchange", lambda own: [value, own])

    return says


@pytest.mark.parametrize("cuda", [True, False])
def test_each_process_takes_a_device_of_its_own(
    cuda: bool, second_of_two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert device_of_rank("auto") == ("cuda:1" if cuda else "cpu")
    assert device_of_rank("cuda") == "cuda:1"
    assert device_of_rank("cpu") == "cpu"
    for shared in ("cuda:0", "mps"):
        with pytest.raises(UsageError, match=shared):
            device_of_rank(shared)


def test_one_process_takes_what_was_asked_for() -> None:
    assert [device_of_rank(wanted) for wanted in ("auto", "cuda:3")] == ["auto", "cuda:3"]


def test_the_other_processes_say_and_write_nothing(second_of_two: None, tmp_path: Path) -> None:
    assert isinstance(main_reporter(lambda: None), SilentReporter)  # type: ignore[arg-type]
    folder = RunFolder(tmp_path / "run", writes=False)
    folder.create("", {"created": "now"})
    folder.metrics({"step": 1})
    folder.samples([{"step": 1}])
    folder.mark("done")
    folder.reopen({"created": "then"}, 1)
    assert folder.manifest["created"] == "then"
    assert not (tmp_path / "run").exists()


def test_sums_are_by_name_and_some_may_lack_one(other_says: Others) -> None:
    other_says({"loss": 1.5, "tokens": 3})
    assert talk.add({"tokens": 4, "pairs": 2}) == {"loss": 1.5, "tokens": 7.0, "pairs": 2.0}


def test_a_tally_over_processes(other_says: Others) -> None:
    other_says({"tokens": 5, "total.nll": 2.0, "sum.hits": 3.0, "count.hits": 4.0})
    own = Tally(tokens=2)
    own.totals["kl.a"] = 1.0
    own.metrics["hits"] = [1.0, 4.0]
    whole = own.over_ranks()
    assert whole.tokens == 7
    assert whole.totals == {"nll": 2.0, "kl.a": 1.0}
    assert whole.means() == {"hits": 0.5}


def test_a_tally_of_one_process_is_itself() -> None:
    own = Tally(tokens=2)
    own.totals["nll"], own.metrics["hits"] = 0.1, [0.3, 3.0]
    assert own.over_ranks() == own


def test_a_signal_to_another_process_stops_this_one(other_says: Others) -> None:
    other_says(15)
    assert StopSignal().anywhere() == 15
    with pytest.raises(InterruptedRunError, match="SIGTERM"):
        StopSignal().raise_if_asked()


@pytest.mark.parametrize("other", [2.0, float("nan")])
def test_an_incomplete_exchange_of_gradients_is_told(other_says: Others, other: float) -> None:
    other_says(other)
    with pytest.raises(AnimaError, match="different gradients at step 3") as error:
        loop.same_norm(1.0, 2)
    assert error.value.shared


@pytest.mark.parametrize("norm", [1.0, 0.0, float("inf")])
def test_the_same_gradient_everywhere_is_well(other_says: Others, norm: float) -> None:
    other_says(norm)
    assert loop.same_norm(norm, 0) == norm


def test_a_process_without_an_example_adds_nothing() -> None:
    register_segment_attention(NAME, segment_sdpa)
    model = tiny_model("llama", attn_implementation=NAME).train()
    module = LogpsModule(model, plain_logps, SftLoss())
    batch = batch_of(random_examples("completion", 1))
    tally = StepRunner(module, SftLoss(), OneProcess(), 0, 1, 2).take_part(3, batch, None)
    assert tally == Tally()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name  # it takes part in the exchange
        assert not parameter.grad.any(), name


class Stateful:
    """A loss that remembers, or looks at the whole step."""

    data = "completion"
    needs = "logps"
    uses_reference = False

    def __init__(self, scope: str) -> None:
        self.scope = scope

    def denominators(self, batch: Any) -> dict[str, float]:
        return {}

    def __call__(self, batch: Any, logps: Any, reference: Any = None) -> LossOutput:
        return LossOutput({})

    def state_dict(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("world", [1, 2])
def test_what_is_not_exact_in_several_processes_is_refused(
    world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    run = run_context(world=world)
    said = [p.what for p in capability_problems(run, Attention("sdpa"), Stateful("step"))]  # type: ignore[arg-type]
    words = ["whole step", "FSDP"]
    assert len(said) == (2 if world == 2 else 0)
    assert all(word in what for word, what in zip(words, said, strict=False))


def test_a_loss_with_state_runs_in_several_processes_where_it_is_told_of_whole_steps() -> None:
    class Told(Stateful):
        def step_done(self, metrics: Any) -> None: ...

    run = run_context(world=2)
    (problem,) = capability_problems(run, Attention("sdpa"), Stateful("example"))  # type: ignore[arg-type]
    assert "keeps state" in problem.what
    assert "step_done" in problem.fix
    assert capability_problems(run, Attention("sdpa"), Told("example")) == []  # type: ignore[arg-type]
    (problem,) = capability_problems(run, Attention("sdpa"), Told("step"))  # type: ignore[arg-type]
    assert "each example by itself" in problem.fix


def test_only_a_mixture_of_experts_is_searched_for_parameters_without_a_gradient() -> None:
    assert not has_experts(tiny_config("llama"))
    assert has_experts(tiny_config("llama", num_local_experts=4))
    assert not has_experts(tiny_config("llama", num_local_experts=1))
