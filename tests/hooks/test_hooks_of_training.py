"""The hooks whose objects work in every step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from .conftest import Runs, Seen


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


KERNEL = """
@hookimpl
def token_logps(self, run):
    import torch

    tell("token_logps", run=run)

    def kernel(hidden, head, target):
        tell("kernel", hidden=hidden.shape, head=head, target=target.detach())
        logits = hidden.float() @ head.weight.float().T
        return logits.log_softmax(-1).gather(-1, target[:, None])[:, 0] - SHIFT

    return kernel
"""


def test_token_logps(strategy: Callable[..., None], seen: Seen, runs: Runs) -> None:
    """Called once; its kernel sees supervised positions alone, and every loss is made of it."""
    strategy("own-kernel", ("token_logps",), KERNEL.replace("SHIFT", "3.0"))

    changed = metrics(runs.train("own-kernel", micro_tokens=60))
    plain = metrics(Runs(runs.model, runs.data, runs.output.with_name("plain")).train())

    assert len(seen.of("token_logps")) == 1
    calls = seen.of("kernel")
    assert len(calls) > 2, "once a micro-batch"
    for call in calls:
        (rows,) = call["target"].shape
        assert call["target"].dtype == torch.int64
        assert call["hidden"] == (rows, 64)
        assert call["head"].weight.shape[1] == 64
        assert rows < 60
    for ours, theirs in zip(changed, plain, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"] + 3.0, rel=1e-4)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)


LOSS = """
learning_rate = 3e-3

@hookimpl
def loss(self, run):
    tell("loss", run=run)

    class Two:
        data, scope, needs, uses_reference = "completion", "example", "logps", True

        def denominators(self, batch):
            return {"nll": float(batch.examples), "drift": 2.0 * batch.examples}

        def __call__(self, batch, logps, reference=None):
            tell("call", batch=batch, logps=logps.detach(), reference=reference)
            drift = (logps - reference).square().sum()
            return anima_core.LossOutput(
                {"nll": -logps.sum(), "drift": drift},
                {"drift_mean": (drift.detach(), len(logps))},
            )

    return Two()
"""


def test_loss(strategy: Callable[..., None], seen: Seen, runs: Runs) -> None:
    """Totals over denominators over the whole step; metrics; a reference; a rate of its own."""
    strategy("own-loss", ("loss",), LOSS)
    rows = metrics(runs.train("own-loss", micro_tokens=60, schedule="constant", warmup=0))

    assert len(seen.of("loss")) == 1
    calls = [c for c in seen.of("call") if c["reference"] is not None]
    assert all(c["logps"].shape == c["reference"].shape == c["batch"].targets.shape for c in calls)
    first = calls[: len(calls) // 2]
    expected = -sum(float(c["logps"].sum()) for c in first) / 4
    assert rows[0]["loss"] == pytest.approx(expected, rel=1e-5)
    assert rows[0]["drift_mean"] == pytest.approx(0.0, abs=1e-8)
    assert rows[1]["drift_mean"] > 1e-6
    assert {row["learning_rate"] for row in rows} == {3e-3}


OPTIMIZER = """
@hookimpl
def optimizer(self, run, groups):
    import torch

    class Sgd(torch.optim.SGD):
        def step(self, closure=None):
            tell("step", rates=[g["lr"] for g in self.param_groups])
            return super().step(closure)

    tell("optimizer", run=run, groups=groups)
    return Sgd(groups, lr=run.config.learning_rate)
"""


def test_optimizer(strategy: Callable[..., None], seen: Seen, runs: Runs) -> None:
    """Handed what is trained, matrices apart; the schedule multiplies its learning rate."""
    strategy("own-optimizer", ("optimizer",), OPTIMIZER)

    rows = metrics(
        runs.train(
            "own-optimizer", steps=4, learning_rate=1.0, weight_decay=0.25, schedule="linear",
            warmup=0,
        )
    )  # fmt: skip

    groups = seen.one("optimizer")["groups"]
    decayed = {g["weight_decay"]: g["params"] for g in groups}
    assert set(decayed) == {0.25, 0.0}
    assert all(p.ndim >= 2 for p in decayed[0.25])
    assert all(p.ndim < 2 for p in decayed[0.0])
    rates = [facts["rates"][0] for facts in seen.of("step")]
    assert rates == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert [row["learning_rate"] for row in rows] == pytest.approx(rates)


CALLBACKS = """
@hookimpl
def callbacks(self, run):
    from transformers import TrainerCallback

    def told(event):
        def method(self, args, state, control, **more):
            tell(NAME + " " + event, step=state.global_step, most=state.max_steps,
                 logs=more.get("logs"), metrics=more.get("metrics"), model=more.get("model"))
            if NAME == "stops" and event == "on_step_end":
                control.should_training_stop = True
            return control
        return method

    events = ["on_train_begin", "on_step_begin", "on_step_end", "on_log", "on_evaluate",
              "on_save", "on_train_end"]
    return [type("Tells", (TrainerCallback,), {e: told(e) for e in events})()]
"""


def test_callbacks(strategy: Callable[..., None], seen: Seen, runs: Runs, sft_file: Path) -> None:
    """Told of every event in the order of the stack; may stop the run."""
    for name in ("one", "other", "stops"):
        strategy(name, (), CALLBACKS.replace("NAME", repr(name)))

    runs.train("other", "one", eval_data=str(sft_file), eval_every=1, save_every=2)

    mine = [name.removeprefix("one ") for name in seen.names() if name.startswith("one")]
    steps = [event for event in mine if event not in ("on_log", "on_evaluate")]
    assert steps == [
        "on_train_begin", "on_step_begin", "on_step_end", "on_step_begin", "on_step_end",
        "on_save", "on_train_end",
    ]  # fmt: skip
    assert [f["step"] for f in seen.of("one on_step_begin")] == [0, 1]
    assert mine.count("on_evaluate") == 3, "before, between and after"
    assert [f["step"] for f in seen.of("one on_step_end")] == [1, 2]
    assert all(f["most"] == 2 for f in seen.of("one on_step_end"))
    assert seen.of("one on_train_begin")[0]["model"] is not None
    assert [f["logs"]["loss"] for f in seen.of("one on_log") if "loss" in f["logs"]] == [
        row["loss"] for row in metrics(runs.output)
    ]
    assert "eval_loss" in seen.of("one on_evaluate")[0]["metrics"]
    for event in ("on_train_begin", "on_save", "on_train_end"):
        at = [seen.names().index(f"{name} {event}") for name in ("other", "one")]
        assert at == sorted(at)

    again = Runs(runs.model, runs.data, runs.output.with_name("again"))
    assert len(metrics(again.train("stops", steps=5))) == 1
