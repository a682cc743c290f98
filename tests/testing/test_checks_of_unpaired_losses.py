"""The kit puts a loss of single answers with a verdict to the same checks, and trains with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anima_core import LossOutput, NoOptions, Problem, Role, hookimpl
from anima_core.registry.answers import check_answer
from anima_core.testing import check_loss, random_examples, write_data
from anima_core.testing.runs import check_run


class Verdicts:
    """Good answers up, bad ones down, by how far they are from what the others got."""

    data, scope, needs, uses_reference, mismatched = "unpaired", "step", "logps", True, True

    def estimate(self, batch, gain):
        others = batch.per_example(gain.detach(), Role.MISMATCHED)
        return (batch.weights.to(gain.dtype) * others).sum() / batch.examples

    def denominators(self, batch):
        return {"verdicts": float(batch.weights.double().sum())}

    def __call__(self, batch, logps, reference=None):
        gain = logps - reference.to(logps.dtype)
        good, bad = (batch.per_example(gain, role) for role in (Role.CHOSEN, Role.REJECTED))
        ones = batch.per_example(torch.ones_like(gain), Role.CHOSEN)
        sign = torch.where(ones > 0, 1.0, -1.0).to(gain.dtype)
        losses = torch.sigmoid(-0.1 * sign * (good + bad - self.estimate(batch, gain)))
        return LossOutput({"verdicts": (batch.weights.to(gain.dtype) * losses).sum()})


class Differentiates(Verdicts):
    """Sends a gradient through the estimate too, which is its own affair."""

    def estimate(self, batch, gain):
        others = batch.per_example(gain, Role.MISMATCHED)
        return (batch.weights.to(gain.dtype) * others).sum() / batch.examples


class Alone(Verdicts):
    """Asks for no other answers."""

    scope, mismatched = "example", False

    def estimate(self, batch, gain):
        assert not (batch.role == int(Role.MISMATCHED)).any()
        return 0.0


class Detaches(Verdicts):
    """Takes the bad answers for constants by mistake."""

    def __call__(self, batch, logps, reference=None):
        bad = batch.target_role == int(Role.REJECTED)
        return super().__call__(batch, torch.where(bad, logps.detach(), logps), reference)


class Unsure(Verdicts):
    mismatched = "yes"


class OfPairs(Verdicts):
    data = "preference"


@pytest.mark.parametrize("loss", [Verdicts, Differentiates, Alone])
def test_sound_ones_pass(loss):
    check_loss(loss())


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (Detaches, "the finite difference says"),
        (Unsure, "`mismatched` is 'yes'"),
        (OfPairs, "`mismatched` is for unpaired answers"),
    ],
)
def test_the_defect_is_named(loss, said):
    with pytest.raises(AssertionError, match=said):
        check_loss(loss())


@pytest.mark.parametrize("mismatched", [True, False])
def test_random_examples_have_both_verdicts_and_one_without_another_answer(mismatched):
    examples = random_examples("unpaired", 12, seed=1, mismatched=mismatched)
    assert examples == random_examples("unpaired", 12, seed=1, mismatched=mismatched)
    verdicts = [example.segments[1].role for example in examples]
    assert verdicts[:2] == [Role.CHOSEN, Role.REJECTED]
    others = [example.segments[2].role for example in examples if len(example.segments) > 2]
    assert others == [Role.MISMATCHED] * (11 if mismatched else 0)
    assert len(examples[2].segments) == 2


class Judge:
    """A third party's strategy with that loss."""

    api, summary, slots, requires, conflicts, Options = 1, "Verdicts", ("loss",), (), (), NoOptions

    def __init__(self, options):
        self.options = options

    @hookimpl
    def loss(self, run):
        return Verdicts()


def test_it_trains():
    check_run(Judge, "judge")


class Picky(Judge):
    """Says no to what its data is."""

    @hookimpl
    def loss(self, run):
        class Looks(Verdicts):
            def data_problems(self, data):
                what = f"{data.good_answers} good, {data.bad_answers} bad of {data.tokens > 0}"
                return [Problem("data", what, "Bring more.", exit_code=3)]

        return Looks()


def test_an_answer_that_looks_at_data_must_be_callable():
    good, bad = Verdicts(), Verdicts()
    good.data_problems = lambda data: []
    bad.data_problems = "none"
    assert check_answer("loss", good) == ""
    assert "data_problems cannot be called" in check_answer("loss", bad)


def test_what_the_loss_says_of_the_data_is_part_of_the_plan():
    with pytest.raises(AssertionError, match="4 good, 4 bad of True"):
        check_run(Picky, "picky")


def test_its_data_is_written(tmp_path: Path):
    lines = write_data(tmp_path / "data.jsonl", "unpaired", 4).read_text().splitlines()
    assert ['"label": true' in line for line in lines] == [True, False, True, False]
