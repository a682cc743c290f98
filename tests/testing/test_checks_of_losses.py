"""The checks of losses pass what is right and name what is wrong."""

from __future__ import annotations

import pytest
import torch

from anima_core import Batch, EncodedExample, Loss, LossOutput, Role, TokenSegment
from anima_core.loss.sft import SftLoss
from anima_core.testing import (
    batch_of,
    check_gradient,
    check_micro_batch_invariance,
    random_examples,
)

EXAMPLES = random_examples("completion", 6, seed=1, vocab=50, weighted=True)


class Right(Loss):
    """A weighted mean of squares of sums, with a metric: what every planted defect starts from."""

    data = "completion"
    scope = "example"
    needs = "logps"
    uses_reference = False

    def denominators(self, batch: Batch) -> dict[str, float]:
        return {"square": float(batch.weights.double().sum())}

    def __call__(self, batch, logps, reference=None):
        sums = batch.per_example(logps)
        total = (batch.weights.to(logps.dtype) * sums**2).sum()
        return LossOutput({"square": total}, {"logps": (logps.detach().sum(), len(logps))})


class UsesReference(Right):
    uses_reference = True

    def __call__(self, batch, logps, reference=None):
        return super().__call__(batch, logps - reference)


class TwoTotals(Right):
    def denominators(self, batch: Batch) -> dict[str, float]:
        return {"a": float(batch.weights.sum()), "b": float(len(batch.targets))}

    def __call__(self, batch, logps, reference=None):
        total = super().__call__(batch, logps).totals["square"]
        return LossOutput({"a": total, "b": -logps.sum()})


@pytest.mark.parametrize("loss", [SftLoss(), Right(), UsesReference(), TwoTotals()])
def test_right_losses_pass(loss):
    check_gradient(loss, batch_of(EXAMPLES))
    check_micro_batch_invariance(loss, EXAMPLES)


def test_given_points_are_used():
    batch = batch_of(EXAMPLES)
    seen = []

    class Watching(UsesReference):
        def __call__(self, batch, logps, reference=None):
            seen.append((logps.detach(), reference))
            return super().__call__(batch, logps, reference)

        def __deepcopy__(self, memo):
            return self

    point = torch.linspace(-2, -1, len(batch.targets))
    check_gradient(Watching(), batch, point / 2, logps=point)
    assert torch.equal(seen[0][0], point.double())
    assert torch.equal(seen[0][1], (point / 2).double())


class _WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        wrong = grad.clone()
        wrong[3] *= 1.001
        return wrong


class WrongGradient(Right):
    def __call__(self, batch, logps, reference=None):
        return super().__call__(batch, _WrongBackward.apply(logps))


class Detached(Right):
    def __call__(self, batch, logps, reference=None):
        return super().__call__(batch, logps.detach())


class CastsDown(Right):
    def __call__(self, batch, logps, reference=None):
        return super().__call__(batch, logps.float())


class NotFinite(Right):
    def __call__(self, batch, logps, reference=None):
        return LossOutput({"square": logps.sum().sqrt()})


class NoSuchDenominator(Right):
    def denominators(self, batch: Batch) -> dict[str, float]:
        return {"squares": 1.0}


class NotScalar(Right):
    def __call__(self, batch, logps, reference=None):
        return LossOutput({"square": logps})


class KeepsGraph(Right):
    def __call__(self, batch, logps, reference=None):
        out = super().__call__(batch, logps)
        return LossOutput(out.totals, {"logps": (logps.sum(), 1)})


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (WrongGradient(), r"gradient by log-prob \[3\] is .* finite difference says"),
        (Detached(), "do not depend on the log-probs"),
        (CastsDown(), "finite difference"),
        (NotFinite(), "loss is nan"),
        (NoSuchDenominator(), r"totals \['square'\] and denominators \['squares'\] differ"),
        (NotScalar(), "not a scalar"),
        (KeepsGraph(), "detach"),
    ],
)
def test_gradient_check_names_the_defect(loss, said):
    with pytest.raises(AssertionError, match=said):
        check_gradient(loss, batch_of(EXAMPLES))


class MeansInside(Right):
    """Divides by itself, so that micro-batches count equally whatever their size."""

    def __call__(self, batch, logps, reference=None):
        total = super().__call__(batch, logps).totals["square"] / batch.examples
        return LossOutput({"square": total})


class SeesNeighbours(Right):
    def __call__(self, batch, logps, reference=None):
        return LossOutput({"square": (logps - logps.mean()).square().sum()})


class DenominatorOff(Right):
    def denominators(self, batch: Batch) -> dict[str, float]:
        return {"square": batch.examples + 1.0}


class MetricMeansInside(Right):
    def __call__(self, batch, logps, reference=None):
        out = super().__call__(batch, logps)
        return LossOutput(out.totals, {"logps": (logps.detach().mean(), 1)})


class MetricComesAndGoes(Right):
    def __call__(self, batch, logps, reference=None):
        out = super().__call__(batch, logps)
        return LossOutput(out.totals, out.metrics if batch.examples < 3 else {})


class ScalesGradient(Right):
    """The value adds up, and the gradient does not."""

    def __call__(self, batch, logps, reference=None):
        scaled = logps * batch.examples
        return super().__call__(batch, logps.detach() + scaled - scaled.detach())


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (MeansInside(), "total 'square'"),
        (SeesNeighbours(), "total 'square'"),
        (DenominatorOff(), "denominator 'square'"),
        (MetricMeansInside(), "metric 'logps'"),
        (MetricComesAndGoes(), "unsplit"),
        (ScalesGradient(), "gradient"),
        (Detached(), "does not depend on the log-probs"),
    ],
)
def test_micro_batch_check_names_the_defect(loss, said):
    with pytest.raises(AssertionError, match=said):
        check_micro_batch_invariance(loss, EXAMPLES)


def test_reference_follows_its_example():
    """A loss whose reference is fixed by position in the batch, not by example, is caught."""

    class ByPosition(UsesReference):
        def __call__(self, batch, logps, reference=None):
            return Right.__call__(self, batch, logps - torch.arange(len(logps)))

    with pytest.raises(AssertionError, match="total 'square'"):
        check_micro_batch_invariance(ByPosition(), EXAMPLES)


def test_splits_can_be_given():
    check_micro_batch_invariance(MeansInside(), EXAMPLES, [[[5, 4, 3, 2, 1, 0]]])
    with pytest.raises(AssertionError, match=r"split 5 \+ 1"):
        check_micro_batch_invariance(MeansInside(), EXAMPLES, [[[0, 1, 2, 3, 5], [4]]])
    with pytest.raises(ValueError, match="not a partition"):
        check_micro_batch_invariance(Right(), EXAMPLES, [[[0, 1], [1, 2, 3, 4, 5]]])


def test_a_step_loss_has_no_micro_batches():
    class StepLoss(Right):
        scope = "step"

    with pytest.raises(ValueError, match="whole step"):
        check_micro_batch_invariance(StepLoss(), EXAMPLES)


def test_a_loss_with_state_is_compared_with_itself():
    class Counts(Right):
        calls = 0

        def __call__(self, batch, logps, reference=None):
            self.calls += batch.examples
            return super().__call__(batch, logps)

    loss = Counts()
    check_gradient(loss, batch_of(EXAMPLES))
    check_micro_batch_invariance(loss, EXAMPLES)
    assert loss.calls == 0, "the given loss is left as it was"


@pytest.mark.parametrize("kind", ["completion", "preference"])
def test_random_examples_have_the_promised_shapes(kind):
    examples = random_examples(kind, 30, seed=4, vocab=40, longest=9, weighted=True)
    assert examples == random_examples(kind, 30, seed=4, vocab=40, longest=9, weighted=True)
    assert examples != random_examples(kind, 30, seed=5, vocab=40, longest=9, weighted=True)
    gaps = 0
    for example in examples:
        assert 0.5 <= example.weight < 2
        first, *answers = example.segments
        assert not first.supervised[0]
        assert first.parent == -1
        if kind == "preference":
            assert not any(first.supervised)
            assert [a.role for a in answers] == [Role.CHOSEN, Role.REJECTED]
            assert [a.parent for a in answers] == [0, 0]
        else:
            assert not answers
            assert first.role == Role.COMPLETION
        for segment in answers or [first]:
            assert any(segment.supervised)
            assert max(segment.ids) < 40
            flags = "".join("01"[s] for s in segment.supervised).lstrip("0")
            gaps += "10" in flags
    assert gaps, "some conversations go on after an unsupervised turn"
    assert any(e.segments[0].ids for e in examples if len(e.segments[0].ids) > 1)


def test_rows_of_a_batch_are_the_examples_numbers():
    assert batch_of(EXAMPLES).rows == (0, 1, 2, 3, 4, 5)
    part = batch_of(EXAMPLES, [4, 2])
    assert part.rows == (4, 2)
    assert part.tokens == EXAMPLES[4].tokens + EXAMPLES[2].tokens
    one = EncodedExample((TokenSegment((5, 6), (False, True)),))
    assert batch_of([one]).targets.tolist() == [6]
