"""The check of a loss that watches its run passes a sound one, and names each planted defect."""

from __future__ import annotations

import random

import pytest

from anima_core import LossOutput
from anima_core.testing import check_loss


class Sound:
    """The negative log-likelihood; says so when it rises."""

    data, scope, needs, uses_reference = "completion", "example", "logps", False
    headline: object = ("mean",)

    def denominators(self, batch):
        return {"nll": float(batch.weights[batch.target_example].sum())}

    def __call__(self, batch, logps, reference=None):
        weights = batch.weights[batch.target_example].to(logps.dtype)
        return LossOutput(
            {"nll": -(weights * logps).sum()}, {"mean": (-logps.detach().sum(), len(logps))}
        )

    def warnings(self, history):
        means = [record["mean"] for record in history if "mean" in record]
        return ["it rises"] if len(means) > 20 and means[-1] > means[0] + 1 else []


class OtherHeadline(Sound):
    headline = ("accuracy",)


class Differs(Sound):
    headline = ("gap",)
    differences = {"gap": ("mean", "mean")}  # noqa: RUF012


class DiffersFromNothing(Sound):
    differences = {"gap": ("mean", "accuracy")}  # noqa: RUF012


class DiffersAgain(Sound):
    differences = {"mean": ("mean", "mean")}  # noqa: RUF012


class ListHeadline(Sound):
    headline = ["mean"]  # noqa: RUF012


class Says(Sound):
    def warnings(self, _history):
        return "it rises"


class SaysNothing(Sound):
    def warnings(self, history):
        return [""] if history else []


class SaysNumbers(Sound):
    def warnings(self, history):
        return [len(history)] if len(history) > 20 else []


class Changes(Sound):
    def warnings(self, history):
        for record in history:
            record["loss"] = 0.0
        return []


class Counts(Sound):
    def __init__(self):
        self.asked = 0

    def warnings(self, _history):
        self.asked += 1
        return [f"asked {self.asked} times"]


class Draws(Sound):
    def warnings(self, _history):
        return [f"{random.random()}"]


class Remembers(Sound):
    def __init__(self):
        self.most = 0

    def warnings(self, history):
        self.most = max(self.most, len(history))
        return []

    def state_dict(self):
        return {"most": self.most}

    def load_state_dict(self, state):
        self.most = state["most"]


class NeedsItsMetric(Sound):
    def warnings(self, history):
        return ["high"] if history and history[-1]["mean"] > 1e6 else []


class NoMethod(Sound):
    warnings = ("it rises",)


class Silent(Sound):
    """Has neither."""

    headline = ()
    warnings = None


@pytest.mark.parametrize("loss", [Sound, Silent, Differs])
def test_a_sound_one_passes(loss):
    check_loss(loss())


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (OtherHeadline, "`headline` names 'accuracy', and the loss has no such metric"),
        (DiffersFromNothing, "`differences` takes 'accuracy', and the loss has no such metric"),
        (DiffersAgain, "`differences` names 'mean', and the loss has it already"),
        (ListHeadline, r"`headline` is \['mean'\], no tuple"),
        (Says, "returned 'it rises', no list of texts"),
        (SaysNothing, "returned an empty text"),
        (SaysNumbers, "returned a list with 300 in it"),
        (Changes, "changed the records that it was shown"),
        (Counts, "something else the second time"),
        (Draws, "something else the second time"),
        (Remembers, "changed the loss's state"),
        (NeedsItsMetric, "`warnings` failed: KeyError"),
        (NoMethod, "cannot be called"),
    ],
)
def test_the_defect_is_named(loss, said):
    with pytest.raises(AssertionError, match=said):
        check_loss(loss())
