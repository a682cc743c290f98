"""The check of whole losses passes sound ones, and names each planted defect."""

from __future__ import annotations

import pytest
import torch

from anima_core import LossOutput
from anima_core.testing import check_loss


class Nll:
    """The weighted negative log-likelihood; each test below spoils one thing of it."""

    data, scope, needs, uses_reference = "completion", "example", "logps", False

    def denominators(self, batch):
        return {"nll": float(batch.weights[batch.target_example].sum())}

    def __call__(self, batch, logps, reference=None):
        weights = batch.weights[batch.target_example].to(logps.dtype)
        return LossOutput(
            {"nll": -(weights * logps).sum()}, {"mean": (-logps.detach().sum(), len(logps))}
        )


class Margin(Nll):
    """Pairs against a reference, over the whole step: the mean margin is subtracted."""

    data, scope, needs, uses_reference = "preference", "step", "logps", True

    def denominators(self, batch):
        return {"margin": float(batch.examples)}

    def __call__(self, batch, logps, reference=None):
        ratios = batch.per_example(logps - reference)
        return LossOutput({"margin": ((ratios - ratios.mean()) ** 2).sum()})


class Distil(Nll):
    """Towards the token after each target, as a teacher's choice; the target too."""

    needs = "topk"

    def wanted(self, batch):
        return torch.stack((batch.targets, (batch.targets + 1) % 320, (batch.targets + 2) % 320), 1)

    def __call__(self, batch, logps, reference=None):
        weights = batch.weights[batch.target_example].to(logps.dtype)
        share = logps.new_tensor([0.5, 0.3, 0.2])
        rest = torch.log1p(-logps.exp().sum(dim=1))
        return LossOutput({"nll": -(weights * ((logps * share).sum(dim=1) + 0.1 * rest)).sum()})


class Weighs(Nll):
    """Counts each token by its own weight."""

    weighs_tokens = True

    def weights(self, batch):
        return batch.target_weights

    def denominators(self, batch):
        return {"nll": float(self.weights(batch).sum())}

    def __call__(self, batch, logps, reference=None):
        return LossOutput({"nll": -(self.weights(batch).to(logps.dtype) * logps).sum()})


class WeighsAnswers(Weighs):
    """A mean over answers, not over tokens."""

    def weights(self, batch):
        tokens = batch.per_example(torch.ones_like(batch.target_weights))
        return batch.target_weights / tokens[batch.target_example]


class Sure(Nll):
    """Counts a token by how sure the model is at its place."""

    collision = True

    def __call__(self, batch, logps, reference=None, *, collision):
        weights = batch.weights.to(logps.dtype)[batch.target_example] * collision.exp()
        return LossOutput(
            {"nll": -(weights * logps).sum()}, {"sure": (collision.sum(), len(logps))}
        )


class SureMargin(Margin):
    """The same of pairs, over a whole step."""

    collision = True

    def __call__(self, batch, logps, reference=None, *, collision):
        return super().__call__(batch, logps * (collision / 2).exp(), reference)


class Carries(Nll):
    """Compares with the mean log-prob of the tokens of the steps before."""

    total = count = 0.0

    def __call__(self, batch, logps, reference=None):
        weights = batch.weights[batch.target_example].to(logps.dtype)
        above = logps - (self.total / self.count if self.count else 0.0)
        return LossOutput(
            {"nll": (weights * above**2).sum()}, {"mean": (logps.detach().sum(), len(logps))}
        )

    def step_done(self, metrics):
        total, count = metrics["mean"]
        self.total, self.count = self.total + total, self.count + count

    def state_dict(self):
        return {"sums": [self.total, torch.tensor(self.count)]}

    def load_state_dict(self, state):
        self.total, self.count = state["sums"][0], float(state["sums"][1])


@pytest.mark.parametrize(
    "loss", [Nll, Margin, Distil, Weighs, WeighsAnswers, Sure, SureMargin, Carries]
)
def test_sound_ones_pass(loss):
    check_loss(loss())


class Nothing(Nll):
    data = "pairs"


class Per(Nll):
    scope = "batch"


class Truthy(Nll):
    uses_reference = None


class ZeroAbove(Nll):
    def denominators(self, batch):
        return {"nll": 0.0}


class Tensors(Nll):
    def denominators(self, batch):
        return {"nll": batch.weights.sum()}


class Nameless(Nll):
    def denominators(self, batch):
        return {"tokens": 1.0}


class Remembers(Nll):
    """Divides by what it saw last, rather than by what the batch holds."""

    seen = 1.0

    def denominators(self, batch):
        return {"nll": self.seen}

    def __call__(self, batch, logps, reference=None):
        self.seen = float(logps.detach().abs().sum())
        return super().__call__(batch, logps)


class Averages(Nll):
    """A mean over the micro-batch, where a sum is wanted."""

    def __call__(self, batch, logps, reference=None):
        return LossOutput({"nll": -logps.mean()})


class Casts(Nll):
    def __call__(self, batch, logps, reference=None):
        return super().__call__(batch, logps.float())


class WrongSlope(Nll):
    def __call__(self, batch, logps, reference=None):
        return super().__call__(batch, logps + logps.detach())


class Overflows(Nll):
    def __call__(self, batch, logps, reference=None):
        if logps.dtype == torch.bfloat16:
            logps = logps * float("inf")
        return super().__call__(batch, logps)


class Rounds(Nll):
    def __call__(self, batch, logps, reference=None):
        if logps.dtype == torch.float32:
            logps = logps.half()
        return super().__call__(batch, logps)


class WritesIntoItsInput(Nll):
    def __call__(self, batch, logps, reference=None):
        out = super().__call__(batch, logps)
        if logps.dtype == torch.float32:
            logps.data.clamp_(max=-0.5)
        return out


class WritesIntoTheBatch(Nll):
    def __call__(self, batch, logps, reference=None):
        out = super().__call__(batch, logps)
        if logps.dtype == torch.float32:
            batch.weights.mul_(2.0)
        return out


class OneAlone(Nll):
    """Standardises over the batch, which one example's one token has nothing of."""

    scope = "step"

    def __call__(self, batch, logps, reference=None):
        return LossOutput({"nll": ((logps - logps.mean()) / logps.std()).pow(3).sum()})


class HalfOfAState(Nll):
    def state_dict(self):
        return {}


class CarriesWhatItSaw(Carries):
    """Its state is of the examples that this process has seen."""

    def __call__(self, batch, logps, reference=None):
        self.seen = self.total + float(logps.detach().sum()), float(len(logps))
        return super().__call__(batch, logps)

    def step_done(self, metrics):
        self.total, self.count = getattr(self, "seen", (0.0, 1.0))


class CarriesAtOnce(Carries):
    def __call__(self, batch, logps, reference=None):
        out = super().__call__(batch, logps)
        if logps.requires_grad:
            self.step_done(out.metrics)
        return out

    def load_state_dict(self, state):
        pass


class ForgetsIt(Carries):
    state_dict = load_state_dict = None


class SaysTheState(Carries):
    def step_done(self, metrics):
        super().step_done(metrics)
        return self.state_dict()


class KeepsTheGraph(Nll):
    def __call__(self, batch, logps, reference=None):
        out = super().__call__(batch, logps)
        return LossOutput(out.totals, {"mean": (logps.sum(), 1.0)})


class NeverAsked(Distil):
    wanted = None


class Flat(Distil):
    def wanted(self, batch):
        return batch.targets


class Floats(Distil):
    def wanted(self, batch):
        return super().wanted(batch).float()


class PastTheVocabulary(Distil):
    def wanted(self, batch):
        return super().wanted(batch) + 319


class Fickle(Distil):
    calls = 0

    def wanted(self, batch):
        self.calls += 1
        return (super().wanted(batch) + self.calls) % 320


class LooksAround(Distil):
    """Asks for other tokens of an example when others stand beside it."""

    def wanted(self, batch):
        return (super().wanted(batch) + batch.examples) % 320


class OnlySaysSo(Weighs):
    def weights(self, batch):
        return batch.weights[batch.target_example]


class WeighsTwice(Weighs):
    def weights(self, batch):
        return batch.weights[batch.target_example] * batch.target_weights


class WeighsByExample(Weighs):
    """The mean weight of an example's tokens, for all of them."""

    def weights(self, batch):
        tokens = batch.per_example(torch.ones_like(batch.target_weights))
        return (batch.per_example(batch.target_weights) / tokens)[batch.target_example]


class NoFlag(Weighs):
    weighs_tokens = "yes"


class SureOfNothing(Sure):
    collision = "yes"


class SureOfMany(Distil):
    collision = True


class WritesIntoCollisions(Sure):
    def __call__(self, batch, logps, reference=None, *, collision):
        with torch.no_grad():
            collision.mul_(0.5)
        return super().__call__(batch, logps, collision=collision.clone())


class AveragesCollisions(Sure):
    """By the mean of the micro-batch: what stands beside a token counts too."""

    def __call__(self, batch, logps, reference=None, *, collision):
        return super().__call__(batch, logps, collision=collision.mean().expand(len(logps)))


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (OnlySaysSo, "is off by .* `batch.target_weights`"),
        (WeighsTwice, "is off by .* `batch.target_weights`"),
        (WeighsByExample, "tokens of one example count alike"),
        (NoFlag, "`weighs_tokens` is 'yes'"),
        (CarriesWhatItSaw, "depends on something else than the metrics"),
        (CarriesAtOnce, "`step_done` alone may|split |the finite difference says"),
        (ForgetsIt, "no `state_dict` keeps it"),
        (SaysTheState, "`step_done` returned"),
        (SureOfNothing, "`collision` is 'yes'"),
        (SureOfMany, "`collision` is for a loss that needs 'logps'"),
        (WritesIntoCollisions, "changed the log-probs|the finite difference says"),
        (AveragesCollisions, "split "),
        (Nothing, "`data` is 'pairs'"),
        (Per, "`scope` is 'batch'"),
        (Truthy, "`uses_reference` is None"),
        (ZeroAbove, "denominator 'nll' is 0"),
        (Tensors, "denominator 'nll' is tensor"),
        (Nameless, r"totals \['nll'\] and denominators \['tokens'\] differ"),
        (Remembers, "denominators depend on the log-probs"),
        (Averages, "split "),
        (Casts, "the finite difference says"),
        (WrongSlope, "the finite difference says"),
        (Overflows, r"torch\.bfloat16 log-probs give"),
        (Rounds, r"torch\.float32 log-probs give .* float64"),
        (WritesIntoItsInput, "changed the log-probs"),
        (WritesIntoTheBatch, "changed the batch's `weights`|under torch.no_grad"),
        (OneAlone, "the loss is nan"),
        (HalfOfAState, "come together"),
        (KeepsTheGraph, "keeps the graph alive"),
        (NeverAsked, "'topk', and has no method `wanted`"),
        (Flat, r"`wanted` returned \[\d+\]"),
        (Floats, "`wanted` returned .* torch.float32"),
        (PastTheVocabulary, "asks for tokens 3.. to 6"),
        (Fickle, "other tokens the second time"),
        (LooksAround, "when others stand beside it"),
    ],
)
def test_the_defect_is_named(loss, said):
    with pytest.raises(AssertionError, match=said):
        check_loss(loss())
