"""The check of a loss that needs hidden states: a sound one passes, each defect is named."""

from __future__ import annotations

import pytest
import torch

from anima_core import LossOutput
from anima_core.testing import check_gradient, check_loss, check_micro_batch_invariance
from anima_core.testing.data import batch_of, random_examples


class Sound:
    """The squared score of each example's last token; each test below spoils one thing of it."""

    data = "completion"
    scope = "example"
    needs = "hidden"
    uses_reference = False

    def head(self, hidden_size):
        self.score = torch.nn.Linear(hidden_size, 1)
        return self.score

    def places(self, batch):
        return torch.tensor([segment.stop - 1 for segment in batch.layout])

    def denominators(self, batch):
        return {"ends": float(batch.weights.double().sum())}

    def __call__(self, batch, hidden, reference=None):
        scores = self.score(hidden)[:, 0]
        total = (batch.weights.to(scores.dtype) * scores**2).sum()
        return LossOutput({"ends": total}, {"score": (scores.detach().sum(), len(scores))})


class WithoutHead(Sound):
    """Its scores are what the states are."""

    head = None

    def __call__(self, batch, hidden, reference=None):
        return LossOutput({"ends": (batch.weights.to(hidden.dtype) * hidden[:, 0] ** 2).sum()})


class Whole(Sound):
    scope = "step"

    def __call__(self, batch, hidden, reference=None):
        scores = self.score(hidden)[:, 0]
        return LossOutput({"ends": ((scores - scores.mean()) ** 2 + scores).sum()})


@pytest.mark.parametrize("made", [Sound, WithoutHead, Whole])
def test_a_sound_one_passes(made):
    check_loss(made())


class NoPlaces(Sound):
    places = None


class Table(Sound):
    def places(self, batch):
        return super().places(batch)[:, None]


class Floats(Sound):
    def places(self, batch):
        return super().places(batch).float()


class Nothing(Sound):
    def places(self, batch):
        return super().places(batch)[:0]


class Outside(Sound):
    def places(self, batch):
        return super().places(batch) + 1


class Backwards(Sound):
    def places(self, batch):
        return super().places(batch).flip(0)


class Moving(Sound):
    calls = 0

    def places(self, batch):
        self.calls += 1
        return super().places(batch) - self.calls % 2


class Beside(Sound):
    """The first example's token is another one when it stands alone."""

    def places(self, batch):
        ends = super().places(batch)
        return ends if batch.examples > 1 or batch.tokens < 2 else ends - 1


class Referring(Sound):
    uses_reference = True


class NoModule(Sound):
    def head(self, hidden_size):
        return torch.ones(hidden_size)


class Frozen(Sound):
    def head(self, hidden_size):
        return super().head(hidden_size).requires_grad_(False)


class Unseeded(Sound):
    draws = torch.Generator().manual_seed(1)

    def head(self, hidden_size):
        made = super().head(hidden_size)
        if not made.weight.is_meta:
            with torch.no_grad():
                made.weight.copy_(torch.randn(made.weight.shape, generator=self.draws))
        return made


class Idle(Sound):
    """Its bias is made and not used."""

    def __call__(self, batch, hidden, reference=None):
        scores = hidden @ self.score.weight[0]
        return LossOutput({"ends": (batch.weights.to(scores.dtype) * scores**2).sum()})


class Cut(Sound):
    """Half of the states have no part in the gradient."""

    def __call__(self, batch, hidden, reference=None):
        half = hidden.shape[1] // 2
        mixed = torch.cat([hidden[:, :half], hidden[:, half:].detach()], dim=1)
        return super().__call__(batch, mixed, reference)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (NoPlaces, "has no method `places`"),
        (Table, r"`places` returned \[6, 1\] torch.int64, not \[M\] int64"),
        (Floats, r"`places` returned \[6\] torch.float32"),
        (Nothing, "`places` names no token"),
        (Outside, "`places` names tokens"),
        (Backwards, "not ascending"),
        (Moving, "names others the second time"),
        (Beside, "other tokens of an example when others stand beside it"),
        (Referring, "no reference log-probs"),
        (NoModule, "`head` returned a Tensor, no module"),
        (Frozen, "`head` has no parameter to train"),
        (Unseeded, "another weight under the same seed"),
        (Idle, "the head's bias has no part in the loss"),
        (Cut, "the gradient"),
    ],
)
def test_the_defect_is_named(made, said):
    with pytest.raises(AssertionError, match=said):
        check_loss(made())


def test_the_single_checks_take_it():
    examples = random_examples("completion", 4, seed=2)
    check_gradient(Sound(), batch_of(examples))
    check_micro_batch_invariance(Sound(), examples)
