"""The plan and a run's news, as they are shown."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from anima_core.cli.progress import RichReporter
from anima_core.cli.render_plan import print_plan
from anima_core.cli.units import duration, size
from anima_core.problems import Problem
from anima_core.runs.plan import DataSummary, Plan, SlotLine
from anima_core.runs.reporter import Reporter


@pytest.fixture
def plan():
    return Plan(
        model="tiny (llama, folder)",
        slots=(
            SlotLine("loss", "dpo", "anima-adapt-dpo", "0.1.0", note="sigmoid [x]"),
            SlotLine("optimizer", "adamw", "anima-adapt", "0.1.0", default=True),
        ),
        data=DataSummary(
            ("a.json",),
            "preference",
            1000,
            5000,
            2500,
            99,
            128,
            3,
            2,
            1,
            4,
            p50=40,
            p95=80,
            copies=7,
            alike=50,
            unended=6,
        ),
        eval_data=None,
        device="cpu",
        dtype="float32",
        dtype_reason="no native bfloat16",
        steps=40,
        steps_per_epoch=20,
        learning_rate=5e-6,
        learning_rate_reason="dpo 5e-07 x lora 10",
        memory={"weights": 3 * 2**20, "logits": 2**30},
        problems=(Problem("--dtype", "emulated", "Say auto.", level="warning"),),
    )


def shown(write, *, terminal=False):
    out = io.StringIO()
    write(Console(file=out, width=200, force_terminal=terminal, highlight=False))
    return re.sub(r" +", " ", out.getvalue())


def test_a_plan_says_everything_it_knows(plan):
    text = shown(lambda console: print_plan(console, plan))

    for words in (
        "tiny (llama, folder)",
        "loss dpo anima-adapt-dpo 0.1.0 sigmoid [x]",
        "optimizer adamw anima-adapt 0.1.0 default",
        "1,000 preference examples of a.json",
        "5,000 tokens, 2,500 of them targets",
        "p50 40 · p95 80 · max 99 of 128 tokens",
        "7 copies",
        "one answer to 50 prompts",
        "6 with an answer",
        "3 over the limit",
        "2 dropped",
        "1 cut from the left",
        "4 left out",
        "float32 on cpu (no native bfloat16)",
        "40 (20 a pass over the data)",
        "5e-06 (dpo 5e-07 x lora 10)",
        "about 1.0 GiB: logits 1.0 GiB, weights 3.0 MiB",
        "warning: --dtype: emulated\n Say auto.",
    ):
        assert words in text


def test_a_reference_model_that_takes_more_than_training_is_the_peak(plan):
    def memory(reference: int) -> str:
        larger = replace(plan, reference_memory=reference)
        text = shown(lambda console: print_plan(console, larger))
        return next(line for line in text.splitlines() if line.startswith("memory"))

    own = "logits 1.0 GiB, weights 3.0 MiB"
    assert memory(2**30).strip() == f"memory about 1.0 GiB: {own}"
    assert memory(3 * 2**30).strip() == (
        "memory about 3.0 GiB: the reference model, before training, unless cached; "
        f"then 1.0 GiB: {own}"
    )


RECORD = {
    "step": 2,
    "loss": 1.25,
    "learning_rate": 1e-4,
    "grad_norm": 0.5,
    "tokens": 100,
    "tokens_per_second": 1234.5,
    "memory_bytes": 2 * 2**30,
    "accuracy": 0.75,
}


def test_plain_lines_where_there_is_no_terminal():
    def run(console):
        reporter: Reporter = RichReporter(console, log_every=2)
        with reporter.stage("encoding data", 3) as done:
            done(1)
        with reporter.training(0, 3):
            reporter.step(RECORD | {"step": 1, "loss": 9.0})
            reporter.step(RECORD)
            reporter.step(RECORD | {"step": 3, "loss": 7.0})
        reporter.evaluation({"step": 3, "eval_loss": 2.0})
        reporter.samples([{"step": 3, "prompt": "Who?", "answer": "Me [sic]."}])
        reporter.warn("odd")

    text = shown(run)

    assert "encoding data ..." in text
    assert "loss 9" not in text
    assert "step 2/3 loss 1.2500 accuracy 0.75 lr 1.00e-04 1,234 tokens/s 2.0 GiB 0:00 left" in text
    assert "step 3/3 loss 7" in text
    assert "evaluation after step 3 eval_loss 2" in text
    assert "> Who?\nMe [sic]." in text
    assert "warning: odd" in text


def test_a_live_bar_on_a_terminal_with_stages_inside_it():
    def run(console):
        reporter = RichReporter(console)
        with reporter.training(1, 3):
            reporter.step(RECORD)
            with reporter.stage("sample answers", None) as done:
                done(1)
            reporter.note("checkpoint saved")
            reporter.step(RECORD | {"step": 3})

    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown(run, terminal=True))

    assert "training" in text
    assert "sample answers" in text
    assert "checkpoint saved" in text
    assert "None" not in text
    assert text.rstrip().splitlines()[-1].startswith("step 3/3 loss 1.2500")


def test_a_failure_inside_a_stage_leaves_no_display_behind():
    reporter = RichReporter(Console(file=io.StringIO(), force_terminal=True))
    with pytest.raises(ValueError, match="odd"), reporter.training(0, 2), reporter.stage("x", None):
        raise ValueError("odd")
    with reporter.stage("again", 1) as done:
        done(1)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (723, "12:03"), (11523, "3:12:03")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(512, "512 B"), (1536, "1.5 KiB"), (2**40, "1.0 TiB"), (3 * 2**30, "3.0 GiB")],
)
def test_sizes(count, text):
    assert size(count) == text


def test_the_metrics_that_the_loss_puts_first_are_shown_alone_and_in_its_order(plan):
    headed = replace(plan, headline=("margin", "accuracy"))
    record = RECORD | {"kl": 0.5, "margin": 1.5}

    def run(console):
        reporter = RichReporter(console)
        reporter.plan(headed)
        with reporter.training(0, 2):
            reporter.step(record)
        reporter.evaluation({"step": 2, "eval_kl": 1, "eval_accuracy": 0.5, "eval_loss": 2.0})

    text = shown(run)

    assert "loss 1.2500 margin 1.5 accuracy 0.75 lr" in text
    assert "evaluation after step 2 eval_loss 2 eval_accuracy 0.5\n" in text
